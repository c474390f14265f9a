"""The model card of shared links; its text is in `links_card.md.jinja`.

Source: the Hub's model cards. Everything in it comes from the record and the provenance of the link file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import ModelCardData

from recursivemas.release.model_card import bullets
from recursivemas.release.shared_links import Share
from recursivemas.system.files import is_hub_id
from recursivemas.system.names import HUB_TAGS
from recursivemas.system.shared_links import RECORD, SharedLinks

_TEMPLATE = Path(__file__).with_name("links_card.md.jinja")
TAG = next(tag.name for tag in HUB_TAGS if tag.name == "recursivemas-links")
"""By which the page finds shared links."""


def links_card(share: Share) -> str:
    """The card's text."""
    record, links = share.record, share.links
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.tests["hub"] = is_hub_id
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    groups = [*links.inner.values(), *links.outer.values()]
    settings: Mapping[str, Any] = {
        key: links.provenance[key] for key in ("training", "versions") if isinstance(links.provenance[key], Mapping)
    }
    text = template.render(
        card_data=_metadata(record),
        record=record,
        record_file=RECORD,
        inner=len(links.inner),
        outer=len(links.outer),
        numbers=sum(tensor.array().size for link in groups for tensor in link.tensors.values()),
        training="\n".join(bullets(settings)),
        cell=_cell,
    )
    return f"{text.rstrip()}\n"


def _cell(text: str) -> str:
    """A text that stays in its cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")


def _metadata(record: SharedLinks) -> ModelCardData:
    named = [name for each in record.agents for name in (each.model, each.adapter.name if each.adapter else "")]
    bases = sorted({name for name in named if is_hub_id(name)})
    return ModelCardData(
        base_model=bases or None,
        base_model_relation="adapter" if bases else None,
        library_name="recursivemas",
        license=record.license,
        pipeline_tag="text-generation",
        tags=[TAG, "multi-agent", f"pattern-{record.pattern}", f"links-{record.variant}"],
    )
