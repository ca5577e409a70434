"""Judgements about Typesense: its nodes, the key, aliases and schemas; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from cdc_sync.doctor.facts import CollectionFacts, NodeFacts, ServerFacts
from cdc_sync.doctor.finding import Finding, error, ok, warning
from cdc_sync.schema import Collection, schema_differences

__all__ = ["NEEDED_ACTIONS", "PROBED_ACTIONS", "check_server"]

TYPESENSE: Final = "typesense"
KNOWN_VERSION: Final = "29."
KEY: Final = "CDC_SYNC_TYPESENSE__API_KEY"

PROBED_ACTIONS: Final = ("aliases:get", "collections:get", "documents:export", "documents:get")
"""What reading can try."""
NEEDED_ACTIONS: Final = (
    *PROBED_ACTIONS,
    "aliases:upsert",
    "collections:create",
    "documents:delete",
    "documents:import",
)


def check_server(facts: ServerFacts, declared: Sequence[Collection]) -> Iterator[Finding]:
    """Everything about Typesense."""
    usable = sum(1 for node in facts.nodes if not node.problem)
    for node in facts.nodes:
        yield from check_node(node, others_answer=usable > 0)
    if len(facts.nodes) > 1 and usable and not any(node.is_leader for node in facts.nodes):
        yield error(
            TYPESENSE,
            "no node says that it is the leader: nothing can be written",
            "see the nodes' logs; the key needs debug:list for us to see the leader",
        )
    if not facts.collections:
        return
    yield from check_key(facts)
    if is_refused(facts):
        return
    by_name = {collection.name: collection for collection in declared}
    for found in facts.collections:
        yield from check_collection(found, by_name[found.name])


def check_node(node: NodeFacts, *, others_answer: bool) -> Iterator[Finding]:
    """One node."""
    subject = f"{TYPESENSE} {node.url}"
    if node.problem:
        cure = "check CDC_SYNC_TYPESENSE__URL, the server and its log"
        yield (warning if others_answer else error)(subject, node.problem, cure)
        return
    if node.resource_error:
        yield error(
            subject,
            f"refuses writes: {node.resource_error}",
            "give the server more disk or memory, or limits",
        )
    role = {True: ", leader", False: ", follower", None: ""}[node.is_leader]
    if node.version is None:
        yield ok(subject, "healthy; its version is not told to this key (debug:list)")
    elif node.version.startswith(KNOWN_VERSION):
        yield ok(subject, f"healthy, version {node.version}{role}")
    else:
        yield warning(
            subject,
            f"version {node.version}{role}: what cdc-sync knows of its answers was checked with 29.0",
            "use Typesense 29, or try the upgrade on a copy first",
        )


def is_refused(facts: ServerFacts) -> bool:
    """Whether the key was refused whatever it was used for: a wrong key, not a weak one."""
    return all(set(PROBED_ACTIONS) <= found.denied for found in facts.collections)


def check_key(facts: ServerFacts) -> Iterator[Finding]:
    """Whether the key is accepted, and what it may do."""
    if is_refused(facts):
        yield error(
            "typesense key",
            "Typesense refused it (401)",
            f"set {KEY} (or the file that {KEY}_FILE names) to a key of this server",
        )
        return
    denied = {f"{action} on {c.used}" for c in facts.collections for action in c.denied}
    known = facts.key.actions
    if known is not None:
        denied |= {action for action in NEEDED_ACTIONS if not is_permitted(action, known)}
    if denied:
        yield error(
            "typesense key",
            f"is not permitted: {', '.join(sorted(denied))}",
            f"make a key with the actions {', '.join(NEEDED_ACTIONS)} for the aliases and their versions "
            f"(`products`, `products_.*`), and set {KEY}",
        )
    elif facts.key.is_admin:
        yield ok("typesense key", "accepted; it is an admin key, which may do more than is needed")
    elif known is not None:
        yield ok("typesense key", "accepted, with every action that is needed")
    else:
        writing = ", ".join(action for action in NEEDED_ACTIONS if action not in PROBED_ACTIONS)
        yield ok(
            "typesense key", f"accepted for reading; without writing it cannot be told whether for {writing}"
        )


def is_permitted(action: str, granted: frozenset[str]) -> bool:
    """Whether a key's actions hold this one: `*`, `documents:*`, or by name."""
    return bool(granted & {"*", action, f"{action.partition(':')[0]}:*"})


def check_collection(facts: CollectionFacts, declared: Collection) -> Iterator[Finding]:
    """The alias, what it names, and how that differs from the mapper's schema."""
    subject = f"collection {facts.name}"
    if facts.problem:
        yield error(subject, facts.problem, "see the server's log")
    elif facts.denied:
        return  # the key's finding says it
    elif facts.in_place:
        yield error(
            subject,
            f"a collection of this name stands where the alias should be; searches of {facts.name} read it",
            f"rename it: create {facts.name}_0 from it, drop it, and point the alias {facts.name} there; or "
            "drop it, and the daemon makes an empty one",
        )
    elif facts.found is None and facts.real is not None:
        yield error(
            subject,
            f"the alias points to {facts.real}, which does not exist",
            f"point it to an existing collection, or delete it and run `cdc-sync reindex {facts.name}`",
        )
    elif facts.found is None:
        yield ok(subject, f"does not exist yet: {facts.used} and its alias are made at the start")
    else:
        yield from check_schema(subject, facts, declared)


def check_schema(subject: str, facts: CollectionFacts, declared: Collection) -> Iterator[Finding]:
    """The live schema against the mapper's."""
    found = facts.found or {}
    where = f"{facts.used} with {found.get('num_documents', 'an unknown number of')} documents"
    if facts.real is None:
        where += "; its alias is missing and made at the start"
    differences = schema_differences(declared, found.get("fields", ()))
    if not differences:
        yield ok(subject, f"is {where}; its schema is the mapper's")
        return
    yield warning(
        subject,
        f"is {where}; its schema is not the mapper's: {'; '.join(differences)}",
        f"cdc-sync reindex {facts.name} (the daemon goes on with it as it is)",
    )
