"""Runs the paper's own runner on local folders, and notes its hand-offs and what it decodes.

It is a program of its own: `python harness/released_runner.py REQUEST.json OUT`. It changes nothing in the copy. The
copy's functions for downloads and data sets are replaced in memory, and its settings that cost time: precision, latent
steps, length of the answer, greedy decoding. The request has `code` (the copy's folder), `style`, `dataset`, `rows` of
the data set, `folders` by hub id, and `flags` that replace those of the copy's runner.
"""

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers


def _stand_in_for_datasets() -> None:
    module = types.ModuleType("datasets")
    module.load_dataset = None  # type: ignore[attr-defined]
    sys.modules.setdefault("datasets", module)


def _asked(base: Any, dataset: str, rows: list[dict[str, Any]], file: Path) -> tuple[list[str], list[Any] | None]:
    """The questions as the copy builds them from rows of a data set, and what else it knows of each."""
    if dataset == "medqa":
        file.write_text(json.dumps(rows), encoding="utf-8")
        return base.load_eval_questions_and_answers(str(file), "", -1, False, 42)[1], None
    if dataset == "mbppplus":
        meta = [base.build_mbppplus_sample_meta(row, max_prompt_tests=3) for row in rows]
        return [each["question"] for each in meta], meta
    if dataset == "gpqa":
        return [base._build_gpqa_question_and_choice(row, seed=42)[0] for row in rows], None
    return [row["problem"] for row in rows], None


def main() -> None:
    """Runs one style and writes `OUT.npz` and `OUT.json`."""
    request: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out = Path(sys.argv[2])
    _stand_in_for_datasets()
    sys.path.insert(0, request["code"])
    os.chdir(request["code"])
    sys.dont_write_bytecode = True
    import hf_resolver  # type: ignore[import-not-found]  # of the copy
    import run  # type: ignore[import-not-found]  # of the copy
    from inference_utils import inference_mas as base  # type: ignore[import-not-found]  # of the copy

    folders = {name: Path(folder) for name, folder in request["folders"].items()}
    hand_offs: list[Any] = []
    answers: list[Any] = []
    texts: list[list[str]] = []

    def snapshot(name: str) -> Path:
        return folders[name]

    asked, meta = _asked(base, request["dataset"], request["rows"], out.with_suffix(".rows.json"))

    def questions(**options: Any) -> tuple[Any, ...]:
        return request["dataset"], asked, ["A"] * len(asked), meta

    outer, retry, module = base.run_outer_adapter, base.run_answer_retry_stage, run.run_module
    generate = transformers.GenerationMixin.generate

    def noted_outer(*values: Any, **options: Any) -> Any:
        result = outer(*values, **options)
        hand_offs.append(result.detach().float().numpy())
        return result

    def noted_generate(model: Any, *values: Any, **options: Any) -> Any:
        result = generate(model, *values, **options)
        if "inputs_embeds" in options:
            ids = result if isinstance(result, torch.Tensor) else result.sequences
            answers.append((ids.numpy(), options["eos_token_id"]))
        return result

    def noted_retry(*values: Any, **options: Any) -> Any:
        result = retry(*values, **options)
        texts.append(list(result[0]))
        return result

    def faster(program: Any, flags: list[str]) -> Any:
        flags = [flag for flag in flags if flag != "--do_sample"]
        for name, value in request["flags"].items():
            if f"--{name}" in flags:
                flags[flags.index(f"--{name}") + 1] = str(value)
            else:
                flags += [f"--{name}", str(value)]
        return module(program, flags)

    for owner in (hf_resolver, run):
        owner.snapshot_repo = snapshot
    base.load_eval_questions_and_answers = questions
    base.run_outer_adapter, base.run_answer_retry_stage = noted_outer, noted_retry
    run.run_module = faster
    transformers.GenerationMixin.generate = noted_generate
    sys.argv = ["run.py", "--style", request["style"], "--dataset", request["dataset"], "--device", "cpu"]
    run.main()
    ids, end = answers[-1]
    np.savez(out.with_suffix(".npz"), *hand_offs)
    kept = [row[: row.index(end)] if end in row else row for row in ids.tolist()]
    out.with_suffix(".json").write_text(json.dumps({"ids": kept, "texts": texts[-1]}), encoding="utf-8")


if __name__ == "__main__":
    main()
