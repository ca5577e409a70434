"""What is safe to commit: never more than what is settled, and everything that is."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cdc_sync.model import Partition, Record
from cdc_sync.offsets import OffsetTracker, Span
from tests.factories import record

PARTITIONS = [Partition("t", 0), Partition("t", 1), Partition("u", 0)]


def at(partition: Partition, offset: int) -> Record:
    """A record there."""
    return record(topic=partition.topic, partition=partition.number, offset=offset)


class Tracking(RuleBasedStateMachine):
    """A consumer that polls, holds, releases, settles, commits and loses partitions, in any order.

    The model knows every record by itself: its offset, and the holds that its span has.
    """

    @initialize()
    def begin(self) -> None:
        """Nothing is assigned."""
        self.tracker = OffsetTracker()
        self.next_offset = dict.fromkeys(PARTITIONS, 0)
        self.read: dict[Partition, list[int]] = {p: [] for p in PARTITIONS}
        self.spans: list[Span] = []
        self.offsets_of: dict[Span, list[int]] = {}
        self.returned: Counter[Span] = Counter()
        self.committed: dict[Partition, int] = {}
        self.unheard: list[dict[Partition, int]] = []

    @rule(
        sizes=st.lists(st.tuples(st.sampled_from(PARTITIONS), st.integers(1, 3)), max_size=6),
        holds=st.integers(0, 2),
    )
    def poll(self, sizes: list[tuple[Partition, int]], holds: int) -> None:
        """Records of several partitions, interleaved, with gaps; each span gets some holders."""
        records = []
        for partition, gap in sizes:
            self.next_offset[partition] += gap
            records.append(at(partition, self.next_offset[partition]))
        spans = self.tracker.open(records)
        assert {r.partition for r in records} == spans.keys()
        for partition, span in spans.items():
            offsets = [r.offset for r in records if r.partition == partition]
            assert (offsets[0], offsets[-1] + 1) == (span.first_offset, span.next_offset)
            assert len(offsets) == span.count
            self.read[partition] += offsets
            self.offsets_of[span] = offsets
            self.spans.append(span)
            for _ in range(holds):
                span.hold()

    @precondition(lambda self: any(span.holds for span in self.spans))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Some holder is done."""
        data.draw(st.sampled_from([span for span in self.spans if span.holds])).release()

    @rule()
    def settle(self) -> None:
        """What is settled comes back, once, and in order."""
        settled = self.tracker.settle()
        self.returned.update(settled)
        assert not [span for span in settled if span.holds]
        assert 1 >= max(self.returned.values(), default=0)
        for partition in PARTITIONS:
            firsts = [s.first_offset for s in settled if s.partition == partition]
            assert sorted(firsts) == firsts

    @rule()
    def commit(self) -> None:
        """The broker takes what is offered, and says so at once; nothing is offered twice."""
        self.send()
        self.hear()
        assert {} == self.tracker.committable()

    @rule()
    def send(self) -> None:
        """The broker takes what is offered; its answer is still under way."""
        offsets = self.tracker.committable()
        self.committed.update(offsets)
        self.unheard.append(offsets)

    @rule()
    def hear(self) -> None:
        """The answers come, perhaps after the partitions were lost, and given back."""
        for offsets in self.unheard:
            self.tracker.committed(offsets)
        self.unheard.clear()

    @rule(gone=st.sets(st.sampled_from(PARTITIONS)))
    def revoke(self, gone: set[Partition]) -> None:
        """They are read again from what was committed; their old spans do not count any more."""
        self.tracker.revoke(gone)
        for partition in gone:
            self.read[partition] = []
            self.next_offset[partition] = self.committed.get(partition, 0)
        self.spans = [span for span in self.spans if span.partition not in gone]

    @invariant()
    def nothing_unsettled_is_committable(self) -> None:
        """Every record below a committable offset has been let go by all its holders."""
        for partition, offset in self.tracker.committable().items():
            held = [o for s in self.spans if s.holds and s.partition == partition for o in self.offsets_of[s]]
            assert offset <= min(held, default=offset)
            assert offset - 1 in self.read[partition]

    @invariant()
    def what_was_committed_never_goes_back(self) -> None:
        """A smaller offset would be a loss of nothing, but a sign of confusion."""
        for partition, offset in self.tracker.committable().items():
            assert offset >= self.committed.get(partition, -1)

    @invariant()
    def open_spans_are_counted(self) -> None:
        """Those that were not returned yet."""
        expected = len([span for span in self.spans if not self.returned[span]])
        assert expected == self.tracker.open_spans

    def teardown(self) -> None:
        """When every holder is done, everything becomes committable."""
        if not hasattr(self, "tracker"):
            return
        for span in self.spans:
            while span.holds:
                span.release()
        self.tracker.settle()
        expected = {p: offsets[-1] + 1 for p, offsets in self.read.items() if offsets}
        found = {p: o for p, o in self.committed.items() if p in expected} | self.tracker.committable()
        assert expected == found
        assert 0 == self.tracker.open_spans


TestTracking = Tracking.TestCase
TestTracking.settings = settings(max_examples=60, stateful_step_count=25)


def test_a_span_behind_a_held_one_waits() -> None:
    """A later poll is settled only with the earlier one."""
    tracker = OffsetTracker()
    first = tracker.open([at(PARTITIONS[0], 5)])[PARTITIONS[0]]
    first.hold()
    second = tracker.open([at(PARTITIONS[0], 6)])[PARTITIONS[0]]
    assert ([], {}) == (tracker.settle(), tracker.committable())
    first.release()
    assert ([first, second], {PARTITIONS[0]: 7}) == (tracker.settle(), tracker.committable())


def test_a_revoked_partition_commits_nothing() -> None:
    """Not even what was settled and not committed yet; a span of its past settles nothing."""
    tracker = OffsetTracker()
    span = tracker.open([at(PARTITIONS[0], 5)])[PARTITIONS[0]]
    tracker.settle()
    tracker.revoke([PARTITIONS[0]])
    assert {} == tracker.committable()
    again = tracker.open([at(PARTITIONS[0], 5)])[PARTITIONS[0]]
    again.hold()
    span.hold()
    span.release()
    assert ([], {}) == (tracker.settle(), tracker.committable())


@pytest.mark.parametrize("is_late", [False, True], ids=["heard before", "heard after"])
def test_a_partition_that_was_set_back_is_committed_again(is_late: bool) -> None:
    """An operator resets the group: the same offsets count anew, though they were committed once."""
    tracker = OffsetTracker()
    tracker.open([at(PARTITIONS[0], 5)])
    tracker.settle()
    offsets = tracker.committable()
    if not is_late:
        tracker.committed(offsets)
    tracker.revoke([PARTITIONS[0]])
    if is_late:
        tracker.committed(offsets)
    tracker.open([at(PARTITIONS[0], 5)])
    tracker.settle()
    assert {PARTITIONS[0]: 6} == tracker.committable()
