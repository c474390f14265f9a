import json
from pathlib import Path
from typing import Any

import pytest

from recursivemas.system.errors import InputError
from recursivemas.system.prompt import Latent, fill, parse_template, trim_ends

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "prompt_cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_prompt_cases_shared_with_the_browser(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(InputError, match=case["error"]):
            parse_template(case["template"])
        return
    segments = parse_template(case["template"])
    filled = fill(trim_ends(segments) if case.get("trim") else segments, case["question"])
    assert [{"latent": s.edge} if isinstance(s, Latent) else {"text": s.text} for s in filled] == case["filled"]
