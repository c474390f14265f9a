"""A table in parts gives the same embeddings and logits as a whole one; the limit is lowered so that a tiny one is."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from harness.tiny_models import CASES
from recursivemas.compiler import limits
from tests.parity.conftest import Agent, MakeAgent

pytestmark = pytest.mark.browser

TIED, UNTIED = CASES[:2]
BUILDS = [(TIED, "q4f32_1", 3), (UNTIED, "q0f32", 2)]


@pytest.fixture(params=BUILDS, ids=["tied", "untied"])
def agents(make_agent: MakeAgent, request: pytest.FixtureRequest) -> Iterator[tuple[Agent, Agent]]:
    """The same weights whole and in parts."""
    case, scheme, parts = request.param
    whole = make_agent(case, scheme)
    vocabulary, hidden = case.shape["vocab_size"], case.shape["hidden_size"]
    row = 4 * hidden if scheme == "q0f32" else -(-hidden // 32) * 16
    with pytest.MonkeyPatch.context() as patch:
        # The table is a row too large for one part fewer.
        patch.setattr(limits, "MAX_PART_BYTES", row * (-(-vocabulary // (parts - 1)) - 1))
        divided = make_agent(replace(case, name=f"{case.name}-in-{parts}"), scheme)
    names = [each["name"] for each in divided.library.metadata["params"]]
    tables = ["model.embed_tokens"] if case is TIED else ["model.embed_tokens", "lm_head"]
    for table in tables:
        assert len({name.split(".parts.")[1][0] for name in names if name.startswith(f"{table}.parts.")}) == parts
    assert not [name for name in names if name.startswith(tuple(f"{each}.w" for each in tables))]
    yield whole, divided


def test_parts_give_what_the_whole_gives(agents: tuple[Agent, Agent]) -> None:
    vocabulary = agents[0].library.metadata["recursivemas"]["vocab_size"]
    ids = np.arange(vocabulary, dtype=np.int32)
    beyond = np.array([vocabulary, vocabulary + 99, -1], np.int32)
    # A call takes at most a chunk, as in prefill.
    for asked in (*np.array_split(ids, -(-vocabulary // 64)), beyond, ids[-1:]):
        found = [agent.library.call("embed", asked, agent.params) for agent in agents]
        np.testing.assert_array_equal(found[1], found[0])
    rows = np.random.default_rng(0).normal(size=(1, 20, found[0].shape[-1])).astype(np.float32)
    several = [agent.library.call("lm_head", rows[0], agent.params) for agent in agents]
    np.testing.assert_allclose(several[1], several[0], rtol=1e-6, atol=1e-6)
    caches = [agent.library.kv_cache() for agent in agents]
    for start, end in ((0, 19), (19, 20)):
        function = "prefill" if start == 0 else "decode"
        logits = [
            cache.forward(function, rows[:, start:end], agent.params)
            for agent, cache in zip(agents, caches, strict=True)
        ]
        np.testing.assert_allclose(logits[1], logits[0], rtol=1e-5, atol=1e-6)
