"""Where answers go is settled before anything is paid for."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.errors import CliError
from app.cli.targets import Target, older_left, prepare, targets_for
from workers.core.errors import UserError


def test_answers_go_to_the_folder_out_under_the_inputs_name() -> None:
    expected = Target(Path("out/tickets.out.jsonl"), Path("out/tickets.errors.jsonl"))
    assert targets_for([Path("data/tickets.jsonl")], None, None) == [expected]


def test_files_of_the_same_name_do_not_share_their_answers() -> None:
    found = targets_for([Path("a/x.jsonl"), Path("b/x.jsonl"), Path("x-2.jsonl")], None, None)
    assert [each.output.name for each in found] == ["x.out.jsonl", "x-2.out.jsonl", "x-2-2.out.jsonl"]


def test_errors_stand_beside_a_named_output() -> None:
    found = targets_for([Path("x.jsonl")], Path("res/answers.jsonl"), None)
    expected = Target(Path("res/answers.jsonl"), Path("res/answers.errors.jsonl"), output_named=True)
    assert found == [expected]


def test_nothing_is_put_beside_a_device() -> None:
    (found,) = targets_for([Path("x.jsonl")], Path("/dev/null"), None)
    assert found.errors == Path("out/x.errors.jsonl")


def test_an_older_file_of_ours_goes_where_there_is_none_now_but_never_one_a_person_has_named(
    tmp_path: Path,
) -> None:
    ours, theirs = tmp_path / "a.out.jsonl", tmp_path / "mine.jsonl"
    for path in (ours, theirs):
        path.write_text("old")
    assert older_left(ours, "answers", named=False) is None
    assert not ours.exists()
    assert older_left(theirs, "answers", named=True) == f"there are no answers; {theirs} was left as it was"
    assert theirs.read_text() == "old"
    assert older_left(tmp_path / "none.jsonl", "answers", named=True) is None


def test_several_inputs_cannot_go_to_one_output() -> None:
    with pytest.raises(CliError, match="there are 2 inputs"):
        targets_for([Path("a.jsonl"), Path("b.jsonl")], Path("o.jsonl"), None)


def test_the_input_is_never_written_over(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.touch()
    link = tmp_path / "link.jsonl"
    link.symlink_to(source)
    with pytest.raises(CliError, match="is the input itself"):
        targets_for([source], link, None)


def test_answers_and_errors_cannot_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="cannot share"):
        targets_for([tmp_path / "a.jsonl"], tmp_path / "o.jsonl", tmp_path / "o.jsonl")


def test_a_folder_that_is_not_there_is_found_out_at_once(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="there is no directory"):
        prepare(Target(tmp_path / "no" / "o.jsonl", tmp_path / "e.jsonl"))


def test_a_file_in_the_place_of_the_folder_is_an_error_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="cannot write"):
        prepare(targets_for([Path("x.jsonl")], None, None)[0])
