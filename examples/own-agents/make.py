"""Two language models from nothing, a system of them, its links, and what it can do."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import recursivemas as rm

FACTS = {
    ("france", "french"): "paris lyon nice lille nantes rennes",
    ("spain", "spanish"): "madrid seville bilbao malaga cadiz leon",
    ("mexico", "spanish"): "puebla tijuana merida oaxaca toluca cancun",
    ("germany", "german"): "berlin bremen dresden essen kiel mainz",
    ("austria", "german"): "vienna graz linz salzburg innsbruck wels",
    ("italy", "italian"): "rome milan turin genoa verona siena",
    ("portugal", "portuguese"): "lisbon porto braga faro evora aveiro",
    ("brazil", "portuguese"): "recife natal manaus santos belem curitiba",
}
ROWS = [(city, country, tongue) for (country, tongue), cities in FACTS.items() for city in cities.split()]
LESSONS = {
    "geographer": [("place", city, country) for city, country, _ in ROWS],
    "linguist": [("speak", country, tongue) for country, tongue in FACTS],
}
SPECIALS = ("<unk>", "<bos>", "<eos>")
UNK, BOS, EOS = range(len(SPECIALS))


def make_tokenizer(words: list[str]) -> Tokenizer:
    """One token a word. WordPiece without pieces is what the browser's tokenizer library can read, too."""
    vocabulary = {word: index for index, word in enumerate([*SPECIALS, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIALS[UNK], max_input_chars_per_word=40))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer


def make_model(name: str, vocab_size: int) -> Any:
    """A small model with random weights; the two agents differ in family and size."""
    shape: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 32, "vocab_size": vocab_size}
    ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": EOS, "tie_word_embeddings": False}
    common = {**shape, **ids, "max_position_embeddings": 64}
    if name == "geographer":
        config = transformers.Qwen3Config(hidden_size=96, intermediate_size=192, num_key_value_heads=2, **common)
        return transformers.Qwen3ForCausalLM(config)
    config = transformers.LlamaConfig(hidden_size=64, intermediate_size=128, num_key_value_heads=4, **common)
    return transformers.LlamaForCausalLM(config)


def teach(name: str, folder: Path, steps: int, seed: int) -> None:
    """Trains an agent on its lessons and writes an ordinary Hugging Face checkpoint."""
    torch.manual_seed(seed)
    lessons = [f"<bos> {verb} {asked} go {answer} <eos>" for verb, asked, answer in LESSONS[name]]
    words = sorted({word for lesson in lessons for word in lesson.split()} - set(SPECIALS))
    tokenizer = make_tokenizer(words)
    ids = torch.tensor([tokenizer.encode(lesson).ids for lesson in lessons])  # (lessons, 6): all have one length
    model = make_model(name, len(SPECIALS) + len(words)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    labels = ids.clone()
    labels[:, :4] = -100  # what is asked cannot be guessed
    for _ in range(steps):
        loss = model(input_ids=ids, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"{name}: {len(lessons)} lessons, loss {loss.item():.4f}")
    model.eval().save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>", pad_token="<eos>"
    ).save_pretrained(folder)


def declare(out: Path) -> Path:
    """Writes the questions and the system; every third city is held out."""
    for name, kept in (("questions", lambda index: index % 3), ("held-out", lambda index: not index % 3)):
        rows = [{"question": city, "answer": tongue} for at, (city, _, tongue) in enumerate(ROWS) if kept(at)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (out / f"{name}.jsonl").write_text(text, encoding="utf-8")
    system = {
        "version": 1,
        "name": "languages",
        "description": "A geographer hands a country over as a thought; a linguist names its language.",
        "pattern": "graph",
        "rounds": 1,
        "latent_steps": 1,
        "quantization": "q0f32",
        "agents": [
            {
                "id": "geographer",
                "role": "geographer",
                "model": "agents/geographer",
                "prompt": "<bos> place {question} go",
            },
            {
                "id": "linguist",
                "role": "linguist",
                "model": "agents/linguist",
                "prompt": "<bos> speak {latent:geographer->linguist} go",
                "single_prompt": "<bos> speak {question} go",
            },
        ],
        "edges": [{"from": "geographer", "to": "linguist"}],
        "decoding": {"max_new_tokens": 2},
        "training": {
            "inner": {"questions": 64, "steps": 300, "batch_size": 64},
            "outer": {"alignment_steps": 300, "steps": 20, "batch_size": 16},
        },
        "task": {"name": "languages", "data": "held-out.jsonl", "train": "questions.jsonl"},
    }
    path = out / "system.yaml"
    path.write_text(yaml.safe_dump(system, sort_keys=False), encoding="utf-8")
    return path


def main() -> None:
    """Makes everything in one folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/own-agents"))
    parser.add_argument("--steps", type=int, default=300, help="training steps of each agent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build", action="store_true", help="compile the agents for the browser, too")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in LESSONS:
        teach(name, options.out / "agents" / name, options.steps, options.seed)
    path = declare(options.out)
    links = rm.train(path, options.out / "links", resume=(options.out / "links").exists(), say=print)
    system = rm.load(path, links)
    for cell in system.evaluate(mode=["latent", "text", "single"]).cells:
        print(f"{cell.mode}: {cell.right} of {cell.questions} held-out cities")
    city = ROWS[0][0]
    answer = system.ask(city)
    print(f"{city}: the geographer thinks {answer.trace.turns[0].words[0]!r}, the linguist says {answer.answer!r}")
    if options.build:
        rm.build(path, links, options.out / "dist/languages", say=print)


if __name__ == "__main__":
    main()
