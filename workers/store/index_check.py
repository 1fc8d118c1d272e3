"""Hold a database to the table of indexes: what is missing, what is otherwise, what is being built, what it all takes.

`compare` decides and is pure. `check` and `collections` ask the server, `make_missing` makes. `batchwright db` and
the doctor call them. Nothing here removes an index: one that the table does not know may be somebody's own.
Sources: listIndexes, createIndexes, collMod and getParameter in MongoDB's manual, and its stage $collStats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pymongo
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from workers.store.indexes import INDEXES
from workers.store.mongo import Db, Doc

State = Literal["ok", "building", "missing", "differs", "not expiring", "unexpected"]
LACKING: tuple[State, ...] = ("missing", "differs", "not expiring")
Tell = Callable[[str, Sequence[str]], None]

# What makes two indexes of the same keys different; whatever else the server lists, it has added by itself.
_OPTIONS = (
    *("unique", "sparse", "hidden", "expireAfterSeconds", "partialFilterExpression", "collation"),
    *("weights", "default_language", "language_override"),
)
# With another of these, two indexes of the same keys may stand side by side (since MongoDB 5.0).
_APART = ("unique", "sparse", "partialFilterExpression", "collation")
# What an option is where nothing is said of it.
_UNSAID: Mapping[str, object] = {"unique": False, "sparse": False, "hidden": False}
# Of many millions of documents. The server goes on building whoever waits, so nothing is lost where it is too short.
_LONGEST_BUILD_S = 6 * 3600.0
_NAMESPACE_NOT_FOUND = 26
_UNAUTHORIZED = 13
_MAY_NOT = "give the user of BATCHWRIGHT_MONGODB_URL the role readWrite on this database, then run it again"
_OURS: Doc = {"type": "collection", "name": {"$not": {"$regex": "^system\\."}}}


@dataclass(frozen=True, slots=True)
class IndexFinding:
    """One index that is there or should be.

    Attributes:
        text, fix: what is wrong, and what to do about it; empty where nothing is.
    """

    collection: str
    name: str
    state: State
    text: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class CollectionSize:
    """What a collection holds and takes, in bytes: `stored_bytes` on the disk, `index_bytes` by index."""

    name: str
    documents: int
    data_bytes: int
    stored_bytes: int
    index_bytes: Mapping[str, int] = field(default_factory=dict)


def check(db: Db) -> list[IndexFinding]:
    """Every index of the table and every other one, by collection. Raises what pymongo raises."""
    there = _collections(db)
    expires = _expires(db)
    found: list[IndexFinding] = []
    for name in sorted({*there, *INDEXES}):
        listed = [dict(each) for each in db[name].list_indexes()] if name in there else []
        building = frozenset(_stats(db, name).get("indexBuilds", ())) if listed else frozenset[str]()
        found += compare(name, INDEXES.get(name, ()), listed, building=building, expires=expires)
    return found


def collections(db: Db) -> list[CollectionSize]:
    """What there is and how much it takes, by the server's own count, which a crash may leave a little off."""
    sizes = ((name, _stats(db, name)) for name in _collections(db))
    return [
        CollectionSize(
            name,
            int(stats.get("count", 0)),
            int(stats.get("size", 0)),
            int(stats.get("storageSize", 0)),
            {index: int(size) for index, size in stats.get("indexSizes", {}).items()},
        )
        for name, stats in sizes
    ]


def make_missing(db: Db, tell: Tell = lambda _name, _indexes: None) -> list[IndexFinding]:
    """Make what is missing, all of a collection in one pass over it; gives what is still lacking then.

    Reads and writes go on meanwhile. Of two at once both may say that they made an index: the server makes one.
    Raises: what pymongo raises where the server does not answer; what it refuses is still lacking, with its reason.
    """
    refused: dict[tuple[str, str], tuple[str, str]] = {}
    lacking = {(each.collection, each.name) for each in check(db) if each.state == "missing"}
    for collection, models in INDEXES.items():
        wanted = [model for model in models if (collection, _name(model)) in lacking]
        if wanted:
            tell(collection, [_name(model) for model in wanted])
            # In place of the client's limit for a reply, which a large collection's build outlasts.
            try:
                with pymongo.timeout(_LONGEST_BUILD_S):
                    db[collection].create_indexes(wanted)
            except OperationFailure as error:
                # Its name alone: the message may hold values of a tenant's.
                why = f"the server refuses to make it ({(error.details or {}).get('codeName', error.code)})"
                fix = _MAY_NOT if error.code == _UNAUTHORIZED else "see the log of MongoDB"
                refused |= {(collection, _name(model)): (why, fix) for model in wanted}
    left = [each for each in check(db) if each.state in LACKING]
    told = ((each, refused.get((each.collection, each.name), (each.text, each.fix))) for each in left)
    return [replace(each, text=text, fix=fix) for each, (text, fix) in told]


def compare(
    collection: str,
    wanted: Sequence[IndexModel],
    there: Sequence[Doc],
    *,
    building: frozenset[str] = frozenset(),
    expires: bool = True,
) -> list[IndexFinding]:
    """What is to be said of each index. Pure.

    Args:
        there: as listIndexes lists them.
        building: names of those that are not ready.
        expires: whether the server removes documents by TTL at all.
    """
    by_name = {str(each["name"]): each for each in there}
    found, known = list[IndexFinding](), {"_id_"}
    for model in wanted:
        name, target = _name(model), _shape(model.document)
        # Under another name it is the same to MongoDB, which therefore refuses to make ours.
        place = _place(target)
        same = next((other for other, each in by_name.items() if _place(_shape(each)) == place), name)
        same = name if name in by_name else same
        known |= {name, same}
        found.append(_said(collection, name, target, by_name.get(same), same, building, expires))
    for name in by_name.keys() - known:
        text = "the work does not need it; it is left alone, and costs a little with every write"
        found.append(IndexFinding(collection, name, "unexpected", text))
    return found


def _said(
    collection: str,
    name: str,
    target: Doc,
    there: Doc | None,
    same: str,
    building: frozenset[str],
    expires: bool,
) -> IndexFinding:
    if there is None:
        return IndexFinding(collection, name, "missing", "it is not there", "run `batchwright db init`")
    if same in building:
        return IndexFinding(
            collection, name, "building", "it is being built; queries use it when it is ready"
        )
    differing = _differing(target, _shape(there))
    if differing:
        drop = f'db.getCollection("{collection}").dropIndex("{same}")'
        fix = f"drop it in mongosh by `{drop}`, then run `batchwright db init`"
        return IndexFinding(collection, name, "differs", f"{same} is in its place: {differing}", fix)
    if "expireAfterSeconds" in target and not expires:
        fix = "run `db.adminCommand({setParameter: 1, ttlMonitorEnabled: true})` in mongosh"
        return IndexFinding(collection, name, "not expiring", "the server removes nothing by TTL", fix)
    return IndexFinding(collection, name, "ok")


def _name(model: IndexModel) -> str:
    return str(model.document["name"])


def _shape(index: Mapping[str, object]) -> Doc:
    """What an index is, whether asked for or listed: its keys in order, and its options."""
    keys = list(dict(index["key"]).items())  # type: ignore[call-overload]
    words = [name for name, kind in keys if kind == "text"]
    options = {
        name: index[name] for name in _OPTIONS if index.get(name, _UNSAID.get(name)) != _UNSAID.get(name)
    }
    if words:
        # Listed, one pair of keys stands for all fields of text, which are among the weights.
        plain = [(name, kind) for name, kind in keys if kind != "text" and name != "_ftsx"]
        keys = [*plain, ("_fts", "text"), ("_ftsx", 1)]
        options["weights"] = dict(index.get("weights") or dict.fromkeys(words, 1))  # type: ignore[call-overload]
    return {"key": keys, **options}


def _place(shape: Doc) -> object:
    """What only one index of a collection can have: its keys with what they hold, and all words are one."""
    if ("_fts", "text") in shape["key"]:
        return "text"
    return [shape["key"], *(shape.get(name) for name in _APART)]


def _differing(target: Doc, there: Doc) -> str:
    """The first differences in words; empty where there are none."""
    names = [name for name in ("key", *_OPTIONS) if target.get(name) != there.get(name)]
    return ", ".join(
        f"{name} is {_shown(there, name)} and should be {_shown(target, name)}" for name in names[:2]
    )


def _shown(shape: Doc, name: str) -> str:
    if name == "key":
        return " ".join(f"{field} {kind}" for field, kind in shape["key"])
    return str(shape[name]) if name in shape else "not set"


def _collections(db: Db) -> list[str]:
    return sorted(db.list_collection_names(filter=_OURS))


def _stats(db: Db, collection: str) -> Doc:
    """Empty where it has gone meanwhile."""
    try:
        found = next(iter(db[collection].aggregate([{"$collStats": {"storageStats": {}}}])), {})
    except OperationFailure as error:
        if error.code == _NAMESPACE_NOT_FOUND:
            return {}
        raise
    stats: Doc = found.get("storageStats", {})
    return stats


def _expires(db: Db) -> bool:
    """Whether the server removes by TTL; yes where it does not tell, for that is its default."""
    try:
        said = db.client.admin.command({"getParameter": 1, "ttlMonitorEnabled": 1})
    except OperationFailure:  # a right that few users have
        return True
    return bool(said.get("ttlMonitorEnabled", True))
