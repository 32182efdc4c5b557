"""JSON Patch (RFC 6902): the examples of its appendix A, and the bounds on depth and growth."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentws.errors import BadRequest
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.fold import Fold
from agentws.protocol.jsonpatch import apply_patch
from agentws.protocol.strict import MAX_DEPTH, MAX_NODES, check_value

from .logs import patches

Patch = list[dict[str, Any]]


def op(name: str, path: str, **members: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **members}


APPLIES: dict[str, tuple[Any, Patch, Any]] = {
    "A.1 add a member": (
        {"foo": "bar"},
        [op("add", "/baz", value="qux")],
        {"baz": "qux", "foo": "bar"},
    ),
    "A.2 add an element": (
        {"foo": ["bar", "baz"]},
        [op("add", "/foo/1", value="qux")],
        {"foo": ["bar", "qux", "baz"]},
    ),
    "A.3 remove a member": (
        {"baz": "qux", "foo": "bar"},
        [op("remove", "/baz")],
        {"foo": "bar"},
    ),
    "A.4 remove an element": (
        {"foo": ["bar", "qux", "baz"]},
        [op("remove", "/foo/1")],
        {"foo": ["bar", "baz"]},
    ),
    "A.5 replace": (
        {"baz": "qux", "foo": "bar"},
        [op("replace", "/baz", value="boo")],
        {"baz": "boo", "foo": "bar"},
    ),
    "A.6 move a value": (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    "A.7 move an element": (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    "A.8 test": (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [op("test", "/baz", value="qux"), op("test", "/foo/1", value=2)],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    "A.10 add a nested member": (
        {"foo": "bar"},
        [op("add", "/child", value={"grandchild": {}})],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    "A.11 unknown members are ignored": (
        {"foo": "bar"},
        [op("add", "/baz", value="qux", xyz=123)],
        {"foo": "bar", "baz": "qux"},
    ),
    "A.14 escapes": ({"/": 9, "~1": 10}, [op("test", "/~01", value=10)], {"/": 9, "~1": 10}),
    "A.16 add at the end": (
        {"foo": ["bar"]},
        [op("add", "/foo/-", value=["abc", "def"])],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    "copy": ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
    "the whole document": ({"a": 1}, [op("replace", "", value=[1])], [1]),
    "an empty name": ({}, [op("add", "/", value=1)], {"": 1}),
    "test of equal objects": (
        {"a": {"x": 1, "y": [True, None]}},
        [op("test", "/a", value={"y": [True, None], "x": 1})],
        {"a": {"x": 1, "y": [True, None]}},
    ),
    "nothing": ({"a": 1}, [], {"a": 1}),
}

FAILS: dict[str, tuple[Any, Patch]] = {
    "A.9 test": ({"baz": "qux"}, [op("test", "/baz", value="bar")]),
    "A.12 no parent": ({"foo": "bar"}, [op("add", "/baz/bat", value="qux")]),
    "A.15 text is not a number": ({"/": 9, "~1": 10}, [op("test", "/~01", value="10")]),
    "true is not 1": ({"a": 1}, [op("test", "/a", value=True)]),
    "true is not 1 in an array": ({"a": [1]}, [op("test", "/a", value=[True])]),
    "beyond the end": ({"a": [1]}, [op("add", "/a/2", value=1)]),
    "a leading zero": ({"a": [1, 2]}, [op("remove", "/a/01")]),
    "a negative index": ({"a": [1]}, [op("remove", "/a/-1")]),
    "the end is not an element": ({"a": [1]}, [op("remove", "/a/-")]),
    "replace what is not there": ({}, [op("replace", "/a", value=1)]),
    "remove what is not there": ({}, [op("remove", "/a")]),
    "move into itself": ({"a": {}}, [{"op": "move", "from": "/a", "path": "/a/b"}]),
    "no value": ({}, [op("add", "/a")]),
    "no from": ({}, [op("copy", "/a")]),
    "no operation": ({}, [{"path": "/a"}]),
    "an unknown one": ({}, [op("increment", "/a")]),
    "a path without a slash": ({}, [op("add", "a", value=1)]),
    "all or nothing": ({}, [op("add", "/a", value=1), op("remove", "/b")]),
}


@pytest.mark.parametrize(("document", "patch", "result"), APPLIES.values(), ids=APPLIES.keys())
def test_a_valid_patch_is_applied_and_the_document_is_unchanged(
    document: Any, patch: Patch, result: Any
) -> None:
    before = repr(document)
    assert apply_patch(document, patch) == result
    assert repr(document) == before


@pytest.mark.parametrize(("document", "patch"), FAILS.values(), ids=FAILS.keys())
def test_an_invalid_patch_is_refused_and_the_document_is_unchanged(
    document: Any, patch: Patch
) -> None:
    before = repr(document)
    with pytest.raises(BadRequest):
        apply_patch(document, patch)
    assert repr(document) == before


MALFORMED: dict[str, tuple[Any, str]] = {
    "one operation": (op("add", "/a", value=1), "This patch is no list, but dict"),
    "text": ('[{"op": "remove", "path": "/a"}]', "This patch is no list, but str"),
    "nothing at all": (None, "This patch is no list, but NoneType"),
    "a path alone": (["/a"], "Operation 1 of the patch is no object"),
    "a number": ([op("remove", "/a"), 7], "Operation 2 of the patch is no object"),
    "no op": ([{"path": "/a", "value": 1}], "Operation 1 of the patch has no known op"),
    "no path": ([{"op": "remove"}], "remove, has no valid path"),
    "a path that is a list": ([{"op": "remove", "path": ["a"]}], "remove, has no valid path"),
    "no value": ([op("add", "/a")], "add, has no value"),
}


@pytest.mark.parametrize(("patch", "said"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_patch_of_another_form_is_refused_with_what_is_wrong(patch: Any, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        apply_patch({"a": 1}, patch)


def test_a_value_that_was_added_is_not_shared() -> None:
    value: dict[str, Any] = {"x": 1}
    result = apply_patch({}, [op("add", "/a", value=value), op("add", "/b", value=value)])
    result["a"]["x"] = 2
    assert (value, result["b"]) == ({"x": 1}, {"x": 1})


def copy_op(source: str, path: str) -> dict[str, Any]:
    return {"op": "copy", "from": source, "path": path}


documents = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "0"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(documents, patches)
def test_a_patch_equals_its_operations_one_by_one_and_changes_no_input(
    document: Any, patch: Patch
) -> None:
    before = repr((document, patch))
    try:
        result = apply_patch(document, patch)
    except BadRequest:
        assert repr((document, patch)) == before
        return
    assert repr((document, patch)) == before
    step, seen = document, []
    for operation in patch:
        step = apply_patch(step, [operation])
        seen.append((step, repr(step)))
    assert step == result
    assert all(repr(one) == text for one, text in seen)


def test_the_result_shares_what_the_patch_does_not_touch() -> None:
    document = {"large": {"a": [1]}, "small": {"b": [2]}}
    result = apply_patch(document, [op("add", "/small/c", value=1)])
    assert result["large"] is document["large"]
    assert result["small"]["b"] is document["small"]["b"]


def test_copying_a_document_into_itself_is_bounded_in_depth() -> None:
    """Each patch has a few bytes and nests one level deeper. That once failed a whole session."""
    state: Any = {"x": 1}
    refused = 0
    for _ in range(2000):
        try:
            state = apply_patch(state, [copy_op("", "/prev")])
        except BadRequest:
            refused += 1
    assert refused
    check_value(state, "state")


def test_copies_that_double_a_document_are_bounded_in_size() -> None:
    state: Any = {"x": {"a": 1}}
    twice = [copy_op("", "/left"), copy_op("", "/right")]
    with pytest.raises(BadRequest):
        for _ in range(40):
            state = apply_patch(state, twice)
    with pytest.raises(BadRequest):
        apply_patch({"x": [0]}, [copy_op("/x", "/x/-") for _ in range(60)])
    with pytest.raises(BadRequest):
        apply_patch({"x": [0] * 100}, [copy_op("/x", f"/y{n}") for n in range(MAX_NODES // 100)])


def test_moves_and_additions_are_bounded_in_depth() -> None:
    state: Any = {"x": 1}
    with pytest.raises(BadRequest):
        for _ in range(MAX_DEPTH + 1):
            state = apply_patch(
                {"new": {}, "old": state}, [{"op": "move", "from": "/old", "path": "/new/x"}]
            )["new"]
    path = ""
    with pytest.raises(BadRequest):
        for _ in range(MAX_DEPTH + 1):
            path += "/x"
            state = apply_patch(state if path != "/x" else {}, [op("add", path, value={})])


def test_a_document_too_deep_for_the_call_stack_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for patch in ([op("add", "/x", value=deep)], [op("test", "", value=deep)]):
        with pytest.raises(BadRequest):
            apply_patch({"x": deep} if patch[0]["op"] == "add" else deep, patch)


def test_a_document_that_grew_by_what_was_added_may_be_large() -> None:
    """Clients apply such a patch, so refusing it would make them diverge from the server."""
    state: Any = {"rows": []}
    for number in range(MAX_NODES // 8):
        state = apply_patch(state, [op("add", "/rows/-", value=dict.fromkeys("abcde", number))])
    assert len(state["rows"]) == MAX_NODES // 8


def test_a_fold_survives_patches_that_nest() -> None:
    fold = Fold()
    fold.apply(e.ActivitySnapshot("p", "plan", {"x": 1}), "r")
    for _ in range(1000):
        fold.apply(e.StateDelta([copy_op("", "/prev")]), "r")
        fold.apply(e.ActivityDelta("p", "plan", [copy_op("", "/prev")]), "r")
    check_value(fold.state, "state")
    (activity,) = fold.messages
    assert isinstance(activity, m.ActivityMessage)
    check_value(activity.content, "content")
