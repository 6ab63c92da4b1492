"""What all networks that read histories have in common; one that is named here needs no test file of its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from recdl.data.windows import N_GAPS, Events
from recdl.errors import ConfigError
from recdl.models.networks.cnn import CNN
from recdl.models.networks.events import EventInputs, OutputSettings, RecurrentNetwork, RecurrentState
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.recall import Copy
from recdl.models.networks.sasrec import SASRec

N_ITEMS, N_BEHAVIORS, SIZE = 11, 3, 6
NETWORKS: dict[str, Callable[..., Any]] = {"lstm": LSTM, "gru": GRU, "cnn": CNN, "sasrec": SASRec}
RECURRENT = ("lstm", "gru")
ALL_INPUTS = EventInputs(behaviors=True, gaps=True, positions=4)

every_network = pytest.mark.parametrize("name", NETWORKS)
recurrent = pytest.mark.parametrize("name", RECURRENT)


def _network(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    network: Any = NETWORKS[name](N_ITEMS, N_BEHAVIORS, embedding_size=SIZE, **{"inputs": ALL_INPUTS, **settings})
    with torch.no_grad():  # as after training, where these two begin at 0
        for table in (network.embedding.behaviors, network.embedding.gaps):
            if table is not None:
                table.weight.normal_()
                table.weight[table.padding_idx].zero_()
    return network.eval()


def _events(items: list[list[int]], behaviors: list[list[int]] | None = None) -> Events:
    """Give every event a gap of its own; behaviours are all 0 unless given."""
    columns = torch.tensor(items)
    gaps = (columns * 5 + torch.arange(columns.shape[1])) % N_GAPS
    return Events(columns, torch.zeros_like(columns) if behaviors is None else torch.tensor(behaviors), gaps)


def _padded(events: Events, columns: int) -> Events:
    padding = zip(events, (N_ITEMS, N_BEHAVIORS, 0), strict=True)
    return Events(*(torch.nn.functional.pad(column, (0, columns), value=value) for column, value in padding))


@every_network
def test_outputs_do_not_depend_on_padding(name: str) -> None:
    network, events = _network(name), _events([[1, 5, 2]], [[0, 2, 1]])
    torch.testing.assert_close(network(_padded(events, 4))[:, :3], network(events))


@every_network
def test_outputs_do_not_depend_on_the_batch(name: str) -> None:
    network = _network(name)
    rows = [[1, 5, 2, 3], [4, 4, 0, 9], [10, 1, 1, 2]]
    alone = torch.cat([network(_events([row])) for row in rows])
    torch.testing.assert_close(network(_events(rows)), alone)


@every_network
def test_an_output_depends_on_nothing_that_comes_later(name: str) -> None:
    network = _network(name)
    first, second = _events([[1, 5, 2, 3]]), _events([[1, 5, 9, 8]], [[0, 0, 2, 1]])
    torch.testing.assert_close(network(first)[:, :2], network(second)[:, :2])
    assert not torch.allclose(network(first)[:, 2:], network(second)[:, 2:])


@every_network
def test_an_output_depends_on_what_came_before(name: str) -> None:
    network = _network(name)
    assert not torch.allclose(network(_events([[1, 5]]))[:, 1], network(_events([[2, 5]]))[:, 1])


@every_network
def test_one_prefix_at_a_time_gives_the_outputs_of_all_positions_at_once(name: str) -> None:
    network, events = _network(name), _events([[1, 5, 2, 7, 7, 0]], [[0, 2, 1, 1, 0, 2]])
    steps = [network(Events(*(column[:, :end] for column in events)))[:, -1:] for end in range(1, 7)]
    torch.testing.assert_close(network(events), torch.cat(steps, 1))


@recurrent
@pytest.mark.parametrize("recall", [False, True])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_one_event_at_a_time_from_the_state_gives_the_same(name: str, n_layers: int, recall: bool) -> None:
    network = _network(name, n_layers=n_layers, layer_norm=True, output=OutputSettings(recall=recall))
    events = _events([[1, 5, 2, 7, 7, 0]], [[0, 2, 1, 1, 0, 2]])
    assert isinstance(network, RecurrentNetwork)
    state, steps = None, []
    for place in range(6):
        output, state = network.read(Events(*(column[:, place : place + 1] for column in events)), state)
        steps.append(output)
    torch.testing.assert_close(network(events), torch.cat(steps, 1))


@recurrent
def test_the_state_begins_anew_with_each_window_at_its_first_event(name: str) -> None:
    network = _network(name)
    events = _events([[1, 5, 2, 7], [3, 3, 2, 7]])
    state = network.read(Events(*(column[:, :2] for column in events)))[1]
    later = Events(*(column[:, 2:] for column in events))
    going_on, anew = network.read(later, state)[0], network(later)
    assert torch.equal(anew[0], anew[1])
    assert not torch.isclose(going_on[0, 0], going_on[1, 0]).any()
    assert not torch.isclose(going_on[:, 0], anew[:, 0]).any()


@recurrent
def test_rows_that_have_read_more_or_less_go_on_together(name: str) -> None:
    network = _network(name, n_layers=2, output=OutputSettings(recall=True))
    events = _events([[1, 5, 2, 7], [3, 3, 8, 0]])
    first = network.read(Events(*(column[:1, :3] for column in events)))[1]
    second = network.read(Events(*(column[1:, :1] for column in events)))[1]
    both = Events(*(torch.stack([column[0, 3:], column[1, 1:2]]) for column in events))
    output, state = network.read(both, RecurrentState.join([first, second]))
    expected = network(events)
    torch.testing.assert_close(output[:, 0], torch.stack([expected[0, 3], expected[1, 1]]))
    assert state.n_read.tolist() == [4, 2]


def test_others_keep_no_state() -> None:
    assert not any(isinstance(_network(name), RecurrentNetwork) for name in set(NETWORKS) - set(RECURRENT))


@every_network
def test_the_padding_rows_are_zero_and_stay_zero_in_training(name: str) -> None:
    network = _network(name).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    events = _padded(_events([[1, 2]], [[0, 1]]), 1)
    for _ in range(3):
        weight, bias = network.output_layer()
        loss = (network(events)[:, :2] @ weight.T + bias).logsumexp(-1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    embedding = network.embedding
    for table, row in ((embedding.items, N_ITEMS), (embedding.behaviors, N_BEHAVIORS), (embedding.gaps, 0)):
        assert table.weight[row].abs().sum() == 0
    assert embedding.items.weight[1].abs().sum() > 0


@every_network
@pytest.mark.parametrize("tied", [True, False])
def test_padding_and_start_are_no_classes(name: str, tied: bool) -> None:
    network = _network(name, output=OutputSettings(tied=tied))
    weight, bias = network.output_layer()
    assert weight.shape == (N_ITEMS, SIZE)
    assert bias.shape == (N_ITEMS,)
    shares_storage = weight.data_ptr() == network.embedding.items.weight.data_ptr()
    assert shares_storage is tied


@every_network
def test_without_bias_the_bias_is_0_and_is_not_learned(name: str) -> None:
    network = _network(name, output=OutputSettings(bias=False))
    assert not network.output_layer()[1].any()
    assert not any(parameter.shape == (N_ITEMS,) for parameter in network.parameters())


@every_network
@pytest.mark.parametrize("which", ["behaviors", "gaps", "positions"])
def test_each_input_changes_the_output_only_where_it_is_told(name: str, which: str) -> None:
    told = {"behaviors": EventInputs(gaps=False), "gaps": EventInputs(behaviors=False)}
    inputs = told.get(which, EventInputs(behaviors=False, gaps=False, positions=4))
    silent = EventInputs(behaviors=False, gaps=False)
    events = Events(*torch.ones(3, 1, 2, dtype=torch.int64))
    if which == "positions":
        return _check_positions(_network(name, inputs=inputs), _network(name, inputs=silent))
    other = events._replace(**{which: torch.tensor([[2, 2]])})
    for chosen, changes in ((inputs, True), (silent, False)):
        network = _network(name, inputs=chosen)
        assert torch.equal(network(events), network(other)) is not changes
    return None


def _check_positions(told: Any, silent: Any) -> None:
    events = Events(*torch.ones(3, 1, 6, dtype=torch.int64))
    assert silent.embedding.positions is None
    vectors = told.embedding(events)[0][0]
    assert len(torch.unique(vectors[:4], dim=0)) == 4
    torch.testing.assert_close(vectors[4], vectors[3])  # the last place stands for all later ones


@every_network
def test_the_residual_adds_the_last_item(name: str) -> None:
    events = _events([[1, 2]])
    plain, residual = (_network(name, output=OutputSettings(residual=on)) for on in (False, True))
    torch.testing.assert_close(residual(events), plain(events) + plain.embedding.items(events.items))


def _with_recall(recall: Any, gains: list[float], *, kept: float) -> None:
    with torch.no_grad():
        recall.gain_tenths.weight[: len(gains), 0] = torch.tensor(gains) / 10
        recall.kept_tenth.fill_(torch.tensor(kept).logit() / 10)


@every_network
def test_recall_adds_every_item_so_far_by_its_behavior_and_less_of_the_older(name: str) -> None:
    events = _events([[1, 2, 7]], [[0, 2, 1]])
    plain, network = (_network(name, output=OutputSettings(recall=on)) for on in (False, True))
    network.load_state_dict(plain.state_dict(), strict=False)
    _with_recall(network.head.recall, [2.0, 0.5, -1.0], kept=0.5)
    first, second, third = plain.embedding.items(events.items)[0]
    added = (network(events) - plain(events))[0]
    torch.testing.assert_close(added[0], 2.0 * first)
    torch.testing.assert_close(added[1], 0.5 * 2.0 * first - second)
    torch.testing.assert_close(added[2], 0.25 * 2.0 * first - 0.5 * second + 0.5 * third)


@every_network
def test_recall_does_not_tell_behaviors_apart_where_they_are_not_told(name: str) -> None:
    inputs = EventInputs(behaviors=False)
    network = _network(name, inputs=inputs, output=OutputSettings(recall=True))
    items = [[1, 2, 7]]
    assert torch.equal(network(_events(items, [[0, 2, 1]])), network(_events(items, [[2, 1, 0]])))


@every_network
def test_recall_counts_neither_padding_nor_the_start(name: str) -> None:
    network = _network(name, output=OutputSettings(residual=False, recall=True))
    nothing = Events(
        torch.tensor([[N_ITEMS + 1, N_ITEMS]]), torch.full((1, 2), N_BEHAVIORS), torch.zeros(1, 2).long()
    )
    before = network(nothing)
    _with_recall(network.head.recall, [9.0] * N_BEHAVIORS, kept=0.5)
    assert torch.equal(network(nothing), before)


@every_network
def test_copy_raises_the_very_items_of_the_history_and_hardly_any_other(name: str) -> None:
    events = _events([[1, 2, 1]], [[0, 2, 1]])
    plain, network = (_network(name, output=OutputSettings(temperature=0.1, copy=width)) for width in (0, 4096))
    network.load_state_dict(plain.state_dict(), strict=False)
    _with_recall(network.head.copy.recall, [2.0, 0.5, -1.0], kept=0.5)
    with_codes, without = ((one(events) @ one.output_layer()[0].T)[0, -1] for one in (network, plain))
    expected = torch.zeros(N_ITEMS)
    expected[1], expected[2] = 0.25 * 2.0 + 0.5, 0.5 * -1.0
    torch.testing.assert_close(with_codes - without, expected, atol=5 * 4096**-0.5, rtol=0)


@every_network
def test_copy_counts_neither_padding_nor_the_start_nor_behaviors_that_are_not_told(name: str) -> None:
    network = _network(name, inputs=EventInputs(behaviors=False), output=OutputSettings(copy=64))
    nothing = _padded(
        Events(torch.tensor([[N_ITEMS + 1]]), torch.tensor([[N_BEHAVIORS]]), torch.zeros(1, 1).long()), 2
    )
    assert not network(nothing)[..., SIZE:].any()
    items = [[1, 2, 7]]
    assert torch.equal(network(_events(items, [[0, 2, 1]])), network(_events(items, [[2, 1, 0]])))


def test_the_code_of_an_item_is_of_length_1_and_does_not_depend_on_the_catalogue() -> None:
    few, many = (Copy(n_items, N_BEHAVIORS, width=64, told=True).codes for n_items in (N_ITEMS, 3 * N_ITEMS))
    torch.testing.assert_close(few[:N_ITEMS].norm(dim=1), torch.ones(N_ITEMS))
    assert torch.equal(few[:N_ITEMS], many[:N_ITEMS])
    assert not few[N_ITEMS:].any()
    assert len(many[: 3 * N_ITEMS].unique(dim=0)) == 3 * N_ITEMS


def test_codes_are_not_part_of_what_is_stored() -> None:
    stored = _network("lstm", output=OutputSettings(copy=64)).state_dict()
    assert not [name for name in stored if "codes" in name]


@pytest.mark.parametrize("width", [-64, 1, 100])
def test_a_width_of_codes_that_is_no_multiple_of_64_is_refused(width: int) -> None:
    with pytest.raises(ConfigError, match=f"copy must be 0, or a multiple of 64, not {width}"):
        OutputSettings(copy=width)


@every_network
def test_at_a_temperature_logits_are_cosines_over_it(name: str) -> None:
    events = _events([[1, 2, 7]])
    plain, cosine = (_network(name, output=OutputSettings(temperature=at)) for at in (None, 0.1))
    logits = cosine(events) @ cosine.output_layer()[0].T
    expected = torch.cosine_similarity(plain(events)[0, :, None], plain.output_layer()[0][None], dim=-1) / 0.1
    torch.testing.assert_close(logits[0], expected)


@pytest.mark.parametrize("temperature", [0.0, -0.1, float("inf"), float("nan")])
def test_a_temperature_that_means_nothing_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature must be above 0, and finite, or null, not"):
        OutputSettings(temperature=temperature)


@every_network
@pytest.mark.parametrize("which", ["embedding_dropout", "hidden_dropout"])
def test_dropout_acts_in_training_alone(name: str, which: str) -> None:
    settings = {"embedding_dropout": 0.0, "hidden_dropout": 0.0, which: 0.5}
    network, events = _network(name, **settings), _events([[1, 2, 3]])
    assert torch.equal(network(events), network(events))
    network.train()
    assert not torch.equal(network(events), network(events))


@recurrent
def test_the_layer_norm_is_of_what_the_cell_says(name: str) -> None:
    network = _network(name, layer_norm=True, hidden_size=8)
    said: list[torch.Tensor] = []
    network.norm.register_forward_hook(lambda _module, _inputs, output: said.append(output))
    network(_events([[1, 2, 3]]))
    torch.testing.assert_close(said[0].mean(-1), torch.zeros(1, 3), atol=1e-5, rtol=0.0)


def test_a_convolution_sees_as_far_back_as_is_said() -> None:
    network = _network("cnn", kernel_size=2, dilations=(1,), inputs=EventInputs(behaviors=False, gaps=False))
    length, sees = 8, 1 + 3 * (2 - 1) * 1
    items = torch.zeros(length, length, dtype=torch.int64)
    items.fill_diagonal_(7)  # row r differs from none but at place r
    plain = network(Events(*torch.zeros(3, 1, length, dtype=torch.int64)))[0, -1]
    outputs = network(Events(items, torch.zeros_like(items), torch.zeros_like(items)))[:, -1]
    changed = [not torch.allclose(output, plain) for output in outputs]
    assert changed == [place >= length - sees for place in range(length)]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sasrec", {"n_heads": 4}, "embedding_size=6 cannot be shared by n_heads=4"),
        ("cnn", {"dilations": ()}, "dilations is empty"),
        ("cnn", {"dilations": (1, 0)}, "and dilations must be at least 1"),
    ],
)
def test_a_network_that_cannot_be_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _network(name, **settings)


def test_places_below_0_are_refused() -> None:
    with pytest.raises(ConfigError, match="positions must be at least 0, not -1"):
        EventInputs(positions=-1)
