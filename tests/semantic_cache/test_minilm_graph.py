import numpy as np
import pytest
import xxhash

from benchmarks.minilm_torch import PlainMiniLM
from semantic_cache.minilm_graph import MOST_PIECES, PIECE_VECTORS, PIECES, RECIPE, VECTOR, build
from semantic_cache.minilm_weights import DIMENSION, LAYERS

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
VOCABULARY = 40


def made_up(*shape, around=0.0):
    """Numbers that are the same everywhere."""
    steps = (np.arange(np.prod(shape), dtype=np.int64) * 2654435761 + len(shape)) % 1009
    return (around + (steps.reshape(shape) - 504) / np.float32(4096)).astype(np.float32)


def made_up_weights():
    weights = {
        "embeddings.word_embeddings.weight": made_up(VOCABULARY, DIMENSION),
        "embeddings.position_embeddings.weight": made_up(512, DIMENSION),
        "embeddings.token_type_embeddings.weight": made_up(2, DIMENSION),
    }
    norms, matrices = ["embeddings.LayerNorm"], {}
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        norms += [f"{at}attention.output.LayerNorm", f"{at}output.LayerNorm"]
        matrices |= {f"{at}attention.self.{part}": (DIMENSION, DIMENSION) for part in ("query", "key", "value")}
        matrices[f"{at}attention.output.dense"] = (DIMENSION, DIMENSION)
        matrices[f"{at}intermediate.dense"] = (4 * DIMENSION, DIMENSION)
        matrices[f"{at}output.dense"] = (DIMENSION, 4 * DIMENSION)
    weights |= {f"{name}.weight": made_up(*shape) for name, shape in matrices.items()}
    weights |= {f"{name}.bias": made_up(shape[0]) for name, shape in matrices.items()}
    weights |= {f"{name}.weight": made_up(DIMENSION, around=1.0) for name in norms}
    return weights | {f"{name}.bias": made_up(DIMENSION) for name in norms}


@pytest.fixture(scope="module")
def weights():
    return made_up_weights()


@pytest.fixture(scope="module")
def graph(weights):
    return build(weights)


def test_it_computes_what_the_model_does(weights, graph):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    plain = PlainMiniLM(weights)
    for num_pieces in (1, 2, 13, MOST_PIECES):
        ids = np.arange(num_pieces, dtype=np.int64) % VOCABULARY
        vector, states = session.run([VECTOR, PIECE_VECTORS], {PIECES: ids})
        expected = plain.states(ids).numpy()
        assert states.shape == expected.shape
        assert vector @ plain.vector(ids) > 0.99
        np.testing.assert_allclose(np.linalg.norm(vector), 1.0, atol=1e-5)
        cosines = (states * expected).sum(1) / np.linalg.norm(states, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosines.min() > 0.98


def test_the_recipe_has_its_number(graph):
    """Where this fails, files that people keep hold another graph: raise RECIPE, and put the new digest here."""
    assert (RECIPE, xxhash.xxh3_128_hexdigest(graph)) == (1, "39341abf56de30428ec4295ec5737ead")
