"""A stand-in for a copy of the paper's code: the names that import-release calls, with words of our own."""

from pathlib import Path
from textwrap import dedent

from recursivemas.system.files import write_text_atomic

PROMPTS = r"""
    import re
    from inference_utils.reflector_tool_notes import system_prompt

    SYSTEM_PROMPT = "Be brief."
    PLANNER_SLOT, REFINED_SLOT, FEEDBACK_SLOT = "[[plan]]", "[[refined]]", "[[feedback]]"
    HIE_MATH_EXPERT_SLOT, HIE_CODE_EXPERT_SLOT, HIE_SCIENCE_EXPERT_SLOT = "[[m]]", "[[c]]", "[[s]]"
    HIE_FEEDBACK_SLOT = "[[h]]"
    DISTILL_EXPERT_SLOT, DISTILL_FEEDBACK_SLOT = "[[e]]", "[[l]]"
    DELIBERATION_REFLECTOR_SLOT, DELIBERATION_FEEDBACK_SLOT = "[[r]]", "[[t]]"

    def get_system_prompt(design="chain", role=None):
        return system_prompt if design == "deliberation" else SYSTEM_PROMPT

    def _wanted(task_type, fn_name):
        if task_type == "function":
            return f"Give the function `{fn_name}`." if fn_name else "Give a function."
        return "Give a whole program."

    def _ends(question, args=None):
        if re.search(r"(?m)^A\. ", question):
            return "Box a letter, shortly: \\boxed{A}." if getattr(args, "choice_old_prompt", 0) else "Box a letter."
        return "Box the result: \\boxed{1}."

    def build_math_planner_prompt(question):
        return f"Sketch a way.\n{question}\n"

    def build_math_planner_prompt_with_feedback_slot(question):
        return f"Sketch again.\n{question}\nBefore:\n{FEEDBACK_SLOT}\n"

    def build_math_refiner_prompt_with_slot(question):
        return f"Mend it.\n\n{question}\n{PLANNER_SLOT}"

    def build_math_solver_prompt_with_slots(question, args=None, mas_shape="chain"):
        return f"Answer by {REFINED_SLOT}\n{question}\n{_ends(question, args)}"

    def build_code_planner_prompt(question, task_type, fn_name=None):
        return f"Sketch code.\n{_wanted(task_type, fn_name)}\n{question}\n"

    def build_code_planner_prompt_with_feedback_slot(question, task_type, fn_name=None):
        return f"Sketch code again.\n{_wanted(task_type, fn_name)}\n{question}\n{FEEDBACK_SLOT}\n"

    def build_code_refiner_prompt_with_slot(question, task_type, fn_name=None):
        return f"Mend code.\n{_wanted(task_type, fn_name)}\n{question}\n{PLANNER_SLOT}\n"

    def build_code_solver_prompt_with_slots(question, task_type, args=None, mas_shape="chain", fn_name=None):
        return f"{_wanted(task_type, fn_name)}\n{REFINED_SLOT}\n{question}\nA block, please: {{}}"

    def _asked(question, mas_task, task_type, fn_name):
        if mas_task == "code":
            return f"{_wanted(task_type, fn_name)}\n{question}\n"
        return f"Asked:\n{question}\n"

    def build_hie_expert_prompt(question, hie_role, mas_task="math", task_type="complete", fn_name=None):
        return f"As {hie_role.upper()}.\n" + _asked(question, mas_task, task_type, fn_name)

    def build_hie_expert_prompt_with_feedback_slot(
        question, hie_role, mas_task="math", task_type="complete", fn_name=None
    ):
        return f"As {hie_role} again: {HIE_FEEDBACK_SLOT}\n" + _asked(question, mas_task, task_type, fn_name)

    def build_hie_summarizer_prompt_with_slots(question, mas_task="math", task_type="complete", fn_name=None):
        slots = f"{HIE_MATH_EXPERT_SLOT}\n{HIE_CODE_EXPERT_SLOT}\n{HIE_SCIENCE_EXPERT_SLOT}\n"
        return f"Weigh\n{slots}" + _asked(question, mas_task, task_type, fn_name) + _ends(question)

    def build_distill_expert_prompt(question, mas_task="math", task_type="complete", fn_name=None):
        return _asked(question, mas_task, task_type, fn_name) + "Say how."

    def build_distill_expert_prompt_with_feedback_slot(question, mas_task="math", task_type="complete", fn_name=None):
        return f"{DISTILL_FEEDBACK_SLOT}\n" + _asked(question, mas_task, task_type, fn_name) + "Say how, again."

    def build_distill_learner_prompt_with_slot(question, mas_task="math", task_type="complete", fn_name=None):
        return f"Do {DISTILL_EXPERT_SLOT}\n" + _asked(question, mas_task, task_type, fn_name) + _ends(question)

    def build_deliberation_reflector_prompt(question, mas_task="math", task_type="complete", fn_name=None):
        return "Reflect.\n" + _asked(question, mas_task, task_type, fn_name)

    def build_deliberation_reflector_prompt_with_feedback_slot(
        question, mas_task="math", task_type="complete", fn_name=None
    ):
        return f"Reflect on {DELIBERATION_FEEDBACK_SLOT}\n" + _asked(question, mas_task, task_type, fn_name)

    def build_deliberation_toolcaller_prompt_with_slot(question, mas_task="math", task_type="complete", fn_name=None):
        return f"{DELIBERATION_REFLECTOR_SLOT}\n" + _asked(question, mas_task, task_type, fn_name) + _ends(question)
"""

STYLES = {
    "sequential_light": ("sequential", ("planner", "critic", "solver")),
    "sequential_scaled": ("sequential", ("planner", "critic", "solver")),
    "mixture": ("mixture", ("math", "code", "science", "summarizer")),
    "distillation": ("distillation", ("expert", "learner")),
    "deliberation": ("deliberation", ("reflector", "toolcaller")),
}

REPOSITORIES = f"""
    STYLE_SPECS = {{
        style: {{"family": family, "repos": {{role: f"made/{{style}}-{{role}}-Qwen3" for role in (*roles, "outer")}}}}
        for style, (family, roles) in {STYLES!r}.items()
    }}
"""

RESOLVER = """
    from huggingface_hub import snapshot_download

    def task_for_inner_repo(dataset):
        return _CODE.get(dataset, "math")

    _CODE = {"mbppplus": "code"}
"""

RUN = """
    import argparse
    import sys
    from hf_resolver import resolve_outer_paths, snapshot_repo, task_for_inner_repo
    from load_from_repo import STYLE_SPECS
    from inference_utils import (
        inference_mas, inference_mas_deliberation, inference_mas_distill, inference_mas_mixture,
    )

    def main():
        parser = argparse.ArgumentParser()
        parser.add_argument("--style", choices=list(STYLE_SPECS))
        parser.add_argument("--dataset", choices=DATASETS)
        args = parser.parse_args()
        print("started")
        if args.dataset == "livecodebench":
            args.dataset = "lcb"
        chosen = {"rounds": 3, "latent": 32, **inference_mas.get_release_recommended_settings(args.style, args.dataset)}
        family = STYLE_SPECS[args.style]["family"]
        outer = snapshot_repo(STYLE_SPECS[args.style]["repos"]["outer"])
        scoped = family in ("sequential", "distillation")
        resolve_outer_paths(outer, task=task_for_inner_repo(args.dataset) if scoped else None)
        flags = {
            "num_recursive_rounds": chosen["rounds"], "latent_steps": chosen["latent"], "max_new_tokens": 700,
            "temperature": 0.2 if args.dataset in ("mbppplus", "lcb") else 0.6, "top_p": 0.9, "top_k": -1, "seed": 42,
            "choice_old_prompt": 2 if args.dataset == "gpqa" else 0,
        }
        if family == "deliberation":
            flags["max_tool_rounds"] = 5
        argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        before = sys.argv
        try:
            sys.argv = ["program", *argv, "--do_sample", "--ans"]
            module = {
                "sequential": inference_mas, "mixture": inference_mas_mixture,
                "distillation": inference_mas_distill, "deliberation": inference_mas_deliberation,
            }[family]
            module.main()
        finally:
            sys.argv = before
"""

RUNNER = """
    import torch
    from .lcb_utils import build_code_reparse_suffix

    SETTINGS = {("sequential_light", "math500"): {"latent": 48}, ("mixture", "lcb"): {"rounds": 2, "latent": 16}}

    def get_release_recommended_settings(style, dataset):
        return SETTINGS.get((style, dataset), {})

    def run_planner_feedback_latent_stage(questions, task_types=None):
        raise NotImplementedError

    def run_answer_retry_stage(outputs, dtype: torch.dtype, max_new_tokens=16):
        if CODE:
            retry_suffix = build_code_reparse_suffix()
            retry_max_new_tokens = 256
        elif CHOICE:
            retry_suffix = "The choice: \\\\boxed{"
        else:
            retry_suffix = "The result: \\\\boxed{"

    def main():
        run_planner_feedback_latent_stage(questions=[]PASSED)
"""

ANSWERS = """
    import re
    import torch

    CLOSING = "Pick a letter."

    def ensure_choice_instruction(question):
        asks = "choose the correct option" in question.lower()
        return question if asks else f"{question}\\n\\n{CLOSING}"
"""

PROGRAMS = """
    import re
    from huggingface_hub import hf_hub_download

    NAME = re.compile(r"assert (\\\\w+)")

    def build_code_reparse_suffix():
        return "Only code:\\n```python\\n"

    def build_mbppplus_sample_meta(row, *, max_prompt_tests=3):
        tests = row["test_list"][:max_prompt_tests]
        question = row["prompt"].strip()
        if tests:
            question += "\\n\\nIt passes:\\n" + "\\n".join(tests)
        return {"question": question, "fn_name": NAME.pattern}

    def build_lcb_sample_meta(row, *, use_private_tests):
        code = row.get("starter_code")
        return {"question": row["question_content"] + (f"\\n\\nGo on from:\\n{code}" if code else "")}
"""


def make_release(folder: Path, june: bool = False) -> Path:
    """Writes a stand-in.

    Args:
        folder: The checkout.
        june: Whether in the layout of June 2026: under `inference/`, with more data sets, and a runner that tells the
            planner of later rounds about code.

    Returns:
        `folder`.
    """
    code = folder / "inference" if june else folder
    datasets = ["math500", "medqa", "gpqa", "mbppplus"] + ["aime25", "aime26", "livecodebench"] * june
    files = {
        "prompts.py": PROMPTS,
        "load_from_repo.py": REPOSITORIES,
        "hf_resolver.py": RESOLVER,
        "run.py": RUN.replace("DATASETS", repr(datasets)),
        "inference_utils/__init__.py": "",
        "inference_utils/inference_mas.py": RUNNER.replace("PASSED", ", task_types=[]" if june else ""),
        "inference_utils/answer_utils.py": ANSWERS,
        "inference_utils/lcb_utils.py": PROGRAMS,
        "inference_utils/reflector_tool_notes.py": 'system_prompt = "Use <search> and {python}."',
    }
    for name, text in files.items():
        write_text_atomic(code / name, dedent(text))
    return folder
