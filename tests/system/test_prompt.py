import json
from pathlib import Path
from typing import Any

import pytest

from recursivemas.system.errors import InputError
from recursivemas.system.prompt import Latent, fill, missing_field, parse_template

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "prompt_cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_prompt_cases_shared_with_the_browser(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(InputError, match=case["error"]):
            parse_template(case["template"])
        return
    segments = parse_template(case["template"])
    values = {**case.get("fields", {}), "question": case["question"]}
    assert missing_field(segments, values) == case.get("missing")
    if "missing" in case:
        return
    filled = fill(segments, values, case.get("trim", False))
    assert [{"latent": s.edge} if isinstance(s, Latent) else {"text": s.text} for s in filled] == case["filled"]
