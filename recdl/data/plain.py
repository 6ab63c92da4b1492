"""Plain CSV logs, read with their ids as numbers: what a plan does with them on an engine takes twice as long.

A log is plain where a field is what stands between two separators: no quotes, no blank ids, and times that are
whole numbers. Whatever is not plain is left to the plan, which knows all notations and names the row that is
wrong: nothing here complains, and what both make of a plain log is the same, byte for byte.
"""

import mmap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recdl.data.events import Audit, OpenedLog, behavior_codes
from recdl.data.prepared import REASONS
from recdl.data.readers import Opened
from recdl.data.sources import CsvLog, FileLog
from recdl.data.timestamps import iso_microseconds, scale_of

if TYPE_CHECKING:
    from recdl.data.sorting import Events

_BLOCK = 1 << 23  # bytes that are read at a time; each block has its own dictionary of ids
_ENOUGH = 1 << 24  # bytes from which on the loops, compiled or loaded, take less than they save
_PACKED = (".gz", ".zst")
_EVENT = 64  # bytes of memory that an event takes at most, from the file to the sorted arrays, but for its ids
_EVER = (-(1 << 63), (1 << 63) - 1)
_SAMPLE = 1 << 16  # bytes by which the length of a row is guessed


@dataclass(frozen=True, eq=False)
class PlainLog:
    """What was read of a plain log, and kept of it.

    Attributes:
        pieces: The events, in any order.
        lengths: (n_users,) int64, how many of them each user has; one at least.
        users: The ids of users by index, sorted by their bytes.
        items: The same of items; each has an event.
        found: What was read and kept.
    """

    pieces: "Iterable[Events]"
    lengths: npt.NDArray[np.int64]
    users: pa.StringArray
    items: pa.StringArray
    found: Audit


def read_plain(log: FileLog, opened: OpenedLog, *, memory: Callable[[], int]) -> PlainLog | None:
    """Read a log if it is plain; return None if it is not, or is too small to gain by that, or too large.

    Args:
        log: The log.
        opened: Its files.
        memory: Says how many bytes this may take.

    Raises:
        DataError: If a behaviour is none that the log's settings name.
    """
    if not _might_be_plain(log, opened, memory):
        return None
    files = [(path, part, behavior) for behavior, part in opened.parts for path in part.files]
    if not all(_holds_plain_text(path, part) for path, part, _ in files):
        return None
    try:
        tables = [_read(path, part, log) for path, part, _ in files]
        rows = _rows(tables, [behavior for _, _, behavior in files], log)
        return None if rows is None else _kept(rows, log, opened.label)
    except pa.ArrowInvalid:  # a row of another number of fields, or a time that is no whole number
        return None
    except MemoryError:  # the system gives less than there seemed to be; the plan spills what does not fit
        return None


def _might_be_plain(log: FileLog, opened: OpenedLog, memory: Callable[[], int]) -> bool:
    if type(log) is not CsvLog or log.exclude or log.columns.weight or log.columns.session:
        return False
    if log.bad_timestamps != "error" or log.time.format not in ("auto", "s", "ms", "us"):
        return False
    dialects = [part.layout.dialect for _, part in opened.parts]
    if any(len(dialect.delimiter.encode()) != 1 for dialect in dialects):
        return False
    files = [path for _, part in opened.parts for path in part.files]
    if any(path.suffix.lower() in _PACKED for path in files):
        return False
    sizes = [path.stat().st_size for path in files]
    if sum(sizes) < _ENOUGH:
        return False
    n_rows = sum(size / _row_length(path) for path, size in zip(files, sizes, strict=True))
    return n_rows * _EVENT + 3 * sum(sizes) <= memory()


def _row_length(path: Path) -> float:
    with path.open("rb") as opened:
        sample = opened.read(_SAMPLE)
    return len(sample) / max(sample.count(b"\n"), 1)


def _holds_plain_text(path: Path, part: Opened) -> bool:
    """Look for what only the plan reads, or refuses, and would not be seen in the columns that are wanted."""
    dialect = part.layout.dialect
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
        start = text.find(b"\n") + 1 if dialect.header is True else 0
        marked = text[:3] == b"\xef\xbb\xbf" and start == 0
        quoted = dialect.quote is not None and text.find(dialect.quote.encode(), start) >= 0
        if marked or quoted or text.find(b"\r") >= 0 or text.find(b"\0") >= 0:
            return False
        # 0x1f would be taken for a number. To look for an x first is much faster.
        return all(text.find(x, start) < 0 or text.find(b"0" + x, start) < 0 for x in (b"x", b"X"))


def _read(path: Path, part: Opened, log: FileLog) -> pa.Table:
    """Return the wanted columns: ids and behaviours as dictionaries, times as int64."""
    names = {key: f"c{part.names.index(name)}" for key, name in log.wanted.items()}
    text = pa.dictionary(pa.int32(), pa.string())
    table = pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(
            block_size=_BLOCK,
            column_names=[f"c{position}" for position in range(len(part.names))],
            skip_rows=int(part.layout.dialect.header is True),
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=part.layout.dialect.delimiter, quote_char=False, ignore_empty_lines=False
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(names.values()),
            column_types={name: pa.int64() if key == "timestamp" else text for key, name in names.items()},
            null_values=[""],
        ),
        memory_pool=pa.system_memory_pool(),  # the default one gives memory of blocks back, and then takes it anew
    )
    return table.rename_columns(list(names))


@dataclass(frozen=True, eq=False)
class _Texts:
    """A column of text, by batch.

    Attributes:
        texts: What it holds, each once, sorted by its bytes.
        numbers: By batch, which of `texts` its codes stand for, int32.
        codes: By batch, (n_rows,) int32.
    """

    texts: pa.StringArray
    numbers: list[npt.NDArray[np.int32]]
    codes: list[npt.NDArray[np.int32]]

    @classmethod
    def of(cls, columns: list[pa.DictionaryArray]) -> "_Texts | None":
        """Return a column; None if a row of it is empty or blank."""
        dictionaries = [column.dictionary for column in columns]
        whole = pa.chunked_array(dictionaries, pa.string()).dictionary_encode()
        texts = whole.chunk(0).dictionary
        blank = pc.any(pc.equal(pc.utf8_trim_whitespace(texts), "")).as_py()
        if blank or any(column.null_count for column in columns):
            return None
        order = pc.sort_indices(texts)
        ranks = np.empty(len(texts), np.int32)
        ranks[order.to_numpy()] = np.arange(len(texts), dtype=np.int32)
        numbers = ranks[np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks])]
        by_batch = np.split(numbers, np.cumsum([len(dictionary) for dictionary in dictionaries])[:-1])
        return cls(texts.take(order), by_batch, [column.indices.to_numpy() for column in columns])

    def of_batch(self, batch: int) -> npt.NDArray[np.int32]:
        """Return (n_rows,) int32: which of `texts` each row holds."""
        return self.numbers[batch][self.codes[batch]]

    def counts(self) -> npt.NDArray[np.int64]:
        """Return how many rows hold each of `texts`."""
        counts = np.zeros(len(self.texts), np.int64)
        for numbers, codes in zip(self.numbers, self.codes, strict=True):
            counts[numbers] += np.bincount(codes, minlength=len(numbers))
        return counts

    def only(self, kept: npt.NDArray[np.bool_]) -> "_Texts":
        """Number those of `texts` that are kept anew; rows that hold another are not to be asked for."""
        if kept.all():
            return self
        anew = (np.cumsum(kept) - 1).astype(np.int32)
        return _Texts(self.texts.filter(pa.array(kept)), [anew[numbers] for numbers in self.numbers], self.codes)


@dataclass(frozen=True, eq=False)
class _Rows:
    """All rows of a log, by batch, and an iterable of the events that are kept.

    Attributes:
        times: By batch, (n_rows,) int64, in the log's unit.
        scale: How many microseconds that has.
        period: The first moment that is kept, and the first after; None: all are.
        codes: By raw behaviour, int8, -1 where it is not kept; of all 0 until that is known.
    """

    users: _Texts
    items: _Texts
    behaviors: _Texts
    times: list[npt.NDArray[np.int64]]
    scale: int
    period: tuple[int, int] | None
    codes: npt.NDArray[np.int8]

    @property
    def whole(self) -> bool:
        """Whether all rows are kept."""
        return self.period is None and bool((self.codes >= 0).all())

    def __iter__(self) -> "Iterator[Events]":
        from recdl.data.sorting import Events

        for batch, times in enumerate(self.times):
            users, items = self.users.of_batch(batch), self.items.of_batch(batch)
            behaviors, moments = self.codes[self.behaviors.of_batch(batch)], times * self.scale
            if self.whole:
                yield Events(users, items, behaviors, moments)
            else:
                kept = (behaviors >= 0) & self._inside(moments)
                yield Events(users[kept], items[kept], behaviors[kept], moments[kept])

    def _inside(self, moments: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        first, after = self.period or _EVER
        return (moments >= first) & (moments < after)

    def behaviors_inside(self) -> Counter[str]:
        """Count the rows in the period by raw behaviour."""
        counts = self.behaviors.counts() if self.period is None else np.zeros(len(self.behaviors.texts), np.int64)
        if self.period is not None:
            for batch, times in enumerate(self.times):
                inside = self.behaviors.of_batch(batch)[self._inside(times * self.scale)]
                counts += np.bincount(inside, minlength=len(counts))
        names = self.behaviors.texts.to_pylist()
        return Counter({name: int(n) for name, n in zip(names, counts, strict=True) if n})

    def counts(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Count the events that are kept, by user and by item."""
        if self.whole:
            return self.users.counts(), self.items.counts()
        of_users, of_items = (np.zeros(len(column.texts), np.int64) for column in (self.users, self.items))
        for events in self:
            of_users += np.bincount(events.users, minlength=len(of_users))
            of_items += np.bincount(events.items, minlength=len(of_items))
        return of_users, of_items


def _rows(tables: list[pa.Table], said: list[str | None], log: FileLog) -> _Rows | None:
    """Return the rows of files, each with the behaviour that is said of it; None if they are not plain."""
    batches = [table.to_batches() for table in tables]
    flat = [batch for of_file in batches for batch in of_file]
    if not flat or any(batch["timestamp"].null_count for batch in flat):
        return None
    times = [batch["timestamp"].to_numpy() for batch in flat]
    scale = scale_of(min(int(part.min()) for part in times), max(int(part.max()) for part in times), log.time)
    if log.columns.behavior is None:
        names = [log.default_behavior if name is None else name for name in said]
        raw = [_constant(name, batch) for name, of_file in zip(names, batches, strict=True) for batch in of_file]
    else:
        raw = [batch["behavior"] for batch in flat]
    users, items, behaviors = (
        _Texts.of(one) for one in ([b["user"] for b in flat], [b["item"] for b in flat], raw)
    )
    if scale is None or users is None or items is None or behaviors is None:
        return None
    return _Rows(users, items, behaviors, times, scale, _period(log), np.zeros(len(behaviors.texts), np.int8))


def _period(log: FileLog) -> tuple[int, int] | None:
    if log.start is None and log.end is None:
        return None
    first, after = (None if text is None else iso_microseconds(text, log.time) for text in (log.start, log.end))
    return _EVER[0] if first is None else first, _EVER[1] if after is None else after


def _constant(name: str, batch: pa.RecordBatch) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(len(batch), np.int32), pa.array([name], pa.string()))


def _kept(rows: _Rows, log: FileLog, label: str) -> PlainLog:
    n_rows, counted = sum(map(len, rows.times)), rows.behaviors_inside()
    codes, names = behavior_codes(log, label, counted)
    dropped = dict.fromkeys(REASONS, 0)
    dropped["outside_period"] = n_rows - counted.total()
    dropped["behavior_not_kept"] = sum(n for name, n in counted.items() if name not in codes)
    raw = rows.behaviors.texts.to_pylist()
    rows = replace(rows, codes=np.array([codes.get(name, -1) for name in raw], np.int8))
    of_users, of_items = rows.counts()
    rows = replace(rows, users=rows.users.only(of_users > 0), items=rows.items.only(of_items > 0))
    found = Audit(n_rows, dropped, codes, names)
    return PlainLog(rows, of_users[of_users > 0], rows.users.texts, rows.items.texts, found)
