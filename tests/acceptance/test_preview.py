"""The command `preview`, as somebody who writes templates runs it. It needs no broker and no mail server."""

import json
from pathlib import Path

from tests.support.examples import EXAMPLES, WORKFLOW, example
from tests.support.worker import command


async def test_previews_are_listed_and_lie_in_the_folder(tmp_path: Path) -> None:
    """Data to stdout, what to do next to stderr."""
    code, out, err = await command(["preview", "workflow/submit", "--out", str(tmp_path)], {})
    assert code == 0
    head, *lines = out.splitlines()
    assert head.split() == ["LANGUAGE", "FILE", "SUBJECT"]
    assert [line.split()[:2] for line in lines] == [
        ["cy", "workflow.submit.cy.html"],
        ["en-GB", "workflow.submit.en-GB.html"],
    ]
    assert err == f"To look at them, open {tmp_path / 'index.html'} in a browser.\n"


async def test_an_event_is_read_from_a_file_or_from_standard_input(tmp_path: Path) -> None:
    """As JSON the answer is one document."""
    file = EXAMPLES / f"{WORKFLOW}.json"
    arguments = ["preview", "--json", "--lang", "cy", "--out", str(tmp_path)]
    code, out, _ = await command([*arguments, str(file)], {})
    assert (code, await command([*arguments, "-"], {}, stdin=file.read_bytes())) == (0, (0, out, _))
    document = json.loads(out)
    first, second = document["mails"]
    assert document["index"] == str(tmp_path / "index.html")
    assert (first["mail"], first["languages"], first["sent"]) == ("workflow/submit", ["cy"], True)
    assert first["subject"].startswith("Angen cymeradwyaeth: ")
    assert {Path(first[kind]).suffix for kind in ("text", "html", "eml")} == {".txt", ".html", ".eml"}
    assert second["to"] == "Helen Okafor <h.okafor@broddu.example>"


async def test_a_mail_that_cannot_be_made_makes_the_exit_code_1(tmp_path: Path) -> None:
    """With its code and sentence."""
    document = example(WORKFLOW)
    document["data"]["recipients"][0]["email"] = "nobody"
    code, out, _ = await command(
        ["preview", "-", "--json", "--out", str(tmp_path)], {}, stdin=json.dumps(document).encode()
    )
    assert code == 1
    assert json.loads(out)["mails"][0]["code"] == "recipient-refused"


async def test_faulty_templates_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    """As at the start of the worker; so preview is the way to try them."""
    templates = tmp_path / "templates"
    (templates / "workflow" / "submit").mkdir(parents=True)
    (templates / "workflow" / "submit" / "subject.txt").write_text("{{ titel }}", encoding="utf-8")
    arguments = ["preview", "--out", str(tmp_path / "out")]
    code, out, err = await command(arguments, {"NOTIFY_TEMPLATES_DIR": str(templates)})
    assert (code, out) == (2, "")
    assert "workflow/submit/subject.txt, line 1: there is no value named titel, but there is title" in err
    assert not (tmp_path / "out").exists()


async def test_what_there_is_not_is_said() -> None:
    """Exit code 2."""
    code, out, err = await command(["preview", "newsletter"], {})
    assert (code, out) == (2, "")
    assert err.startswith("newsletter is no family (workflow, form, password-reset, system), no mail such as ")
