"""Files as people have them go in: through pipes, with the options that the error names, and never cut in silence."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

ROOT = Path(__file__).parents[2]
WEIR = [sys.executable, "-m", "cli", "import"]
EVENTS = "event_id,event_type,occurred_at,user_id,comment\n"


@pytest.fixture
def email():
    return f"{uuid4()}@example.org"


@pytest.fixture
def run(running_weir, email, tmp_path):
    """Import text, as a file unless `file` is named: exit code, outcome or text, complaints."""

    def run(kind, text, *arguments, file=None, as_json=True):
        path = tmp_path / "input.csv"
        if file is None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        user = ["--user", email] if kind == "readings" else []
        command = [*WEIR, kind, str(file or path), *user, "--url", running_weir.url, *map(str, arguments)]
        done = subprocess.run(
            command + ["--json"] * as_json,
            cwd=ROOT,
            input=None if file is None else text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, json.loads(done.stdout or "null") if as_json else done.stdout, done.stderr

    return run


def stored(weir, email):
    """The readings of a user's devices."""
    return weir.rows(
        "SELECT d.name, r.time, r.x, r.y, r.z FROM readings r JOIN devices d ON d.key = r.device_key "
        "JOIN users u ON u.id = d.user_id WHERE u.email = %s ORDER BY d.name, r.time",
        email,
    )


def readings(count, device="p"):
    rows = [f"{device},2026-01-01T00:{number // 60:02}:{number % 60:02}Z,{number},0,0\n" for number in range(count)]
    return "device,timestamp,x,y,z\n" + "".join(rows)


@pytest.mark.parametrize("file", ["-", "/dev/stdin"])
def test_pipe_is_imported_whole(run, running_weir, email, file):
    code, outcome, complaints = run("readings", readings(3000), "--chunk", 500, file=file)
    assert (code, outcome["stored"]) == (0, 3000), complaints
    code, outcome, complaints = run("readings", readings(3000), "--dry-run", file=file)
    assert (code, outcome["accepted"]) == (0, 3000), complaints
    assert len(stored(running_weir, email)) == 3000


def test_events_come_through_a_pipe(run):
    text = EVENTS + "".join(f"{uuid4()},view,2026-01-01T00:00:00Z,u,\n" for _ in range(500))
    code, outcome, complaints = run("events", text, file="-")
    assert (code, outcome["stored"]) == (0, 500), complaints


SEMICOLONS = """sensor_id;sensor_type;location;lat;lon;timestamp;P1;durP1;ratioP1;P2;durP2;ratioP2
1001;SDS011;3121;10.000;20.000;2017-10-31T00:00:15;3.13;;;2.37;;
1001;SDS011;3121;10.000;20.000;2017-10-31T00:02:44;6.40;;;2.40;;
"""
COMMAS = (
    "device;timestamp;x;y;z\r\nesp-1;2026-05-01 10:00:00;1,5;2,25;9,81\r\nesp-1;2026-05-01 10:00:01;1,6;2,5;9,79\r\n"
)
EPOCH = "\ufeffdevice,timestamp,x,y,z\r\nesp-1,1777629600,1.5,2.25,9.81\r\nesp-1,1777629601000,1.6,2.5,9.79\r\n"
TWO_COLUMNS = (
    "Date,Month,Time,CO,PT,NMHC\r\n10/03/2004,March,18.00.00,26,1360,150\r\n10/03/2004,March,19.00.00,2,1292,112\r\n"
)


@pytest.mark.parametrize(
    ("text", "device", "times", "axes"),
    [
        (SEMICOLONS, "1001", ["2017-10-31T00:00:15", "2017-10-31T00:02:44"], [(3.13, 2.37, 0), (6.4, 2.4, 0)]),
        (COMMAS, "esp-1", ["2026-05-01T10:00:00", "2026-05-01T10:00:01"], [(1.5, 2.25, 9.81), (1.6, 2.5, 9.79)]),
        (EPOCH, "esp-1", ["2026-05-01T10:00:00", "2026-05-01T10:00:01"], [(1.5, 2.25, 9.81), (1.6, 2.5, 9.79)]),
        (TWO_COLUMNS, "NAME", ["2004-03-10T18:00:00", "2004-03-10T19:00:00"], [(26, 1360, 150), (2, 1292, 112)]),
    ],
    ids=["semicolons", "decimal commas", "epoch", "two columns"],
)
def test_options_that_the_error_names_bring_the_file_in(run, running_weir, email, text, device, times, axes):
    code, _, complaints = run("readings", text)
    assert (code, stored(running_weir, email)) == (2, [])
    assert text.lstrip("\ufeff").splitlines()[0] in complaints
    options = shlex.split(re.search(r"these options may help: (.*)", complaints)[1])
    code, outcome, complaints = run("readings", text, *options)
    assert (code, outcome["stored"]) == (0, 2), complaints
    assert [(name, f"{time:%Y-%m-%dT%H:%M:%S}", x, y, z) for name, time, x, y, z in stored(running_weir, email)] == [
        (device, time, *values) for time, values in zip(times, axes, strict=True)
    ]


def test_error_of_an_event_file_names_the_options_too(run, running_weir):
    kind = str(uuid4())
    text = f"when|src|{kind}\n2026-05-01 10:00:00|ann|1\n2026-05-01 10:00:01|bob|2\n"
    code, _, complaints = run("events", text)
    assert code == 2
    options = shlex.split(re.search(r"these options may help: (.*)", complaints)[1])
    assert options[:2] == ["--delimiter", "|"]
    mapping = {"--map": "user_id=src,event_type==view", "--time-column": "when"}
    given = [
        "--delimiter",
        "|",
        "--event-id",
        "content",
        "--time-zone",
        "UTC",
        *(part for one in mapping.items() for part in one),
    ]
    code, outcome, complaints = run("events", text, *given)
    assert (code, outcome["stored"]) == (0, 2), complaints
    found = running_weir.rows("SELECT user_id FROM events WHERE properties ? %s ORDER BY time", kind)
    assert found == [("ann",), ("bob",)]


def test_quoted_line_break_is_stored_whole(run, running_weir):
    one = str(uuid4())
    text = f'{EVENTS}{one},login,2026-01-01T00:00:00Z,"Smith, John","Good pump.\nBut it leaks."\n'
    code, outcome, complaints = run("events", text)
    assert (code, outcome["stored"]) == (0, 1), complaints
    found = running_weir.rows("SELECT user_id, properties ->> 'comment' FROM events WHERE event_id = %s", one)
    assert found == [("Smith, John", "Good pump.\nBut it leaks.")]


@pytest.mark.parametrize("cell", ['"unclosed', '"two b" is the string', '"say \\"hi\\""'])
def test_broken_quote_is_rejected_with_its_line_and_the_mended_file_doubles_nothing(run, running_weir, tmp_path, cell):
    user, rejects = str(uuid4()), tmp_path / "rejects.csv"
    header = "event_id,user_id,event_type,occurred_at,comment\n"
    good = f"1,{user},view,2026-01-01T00:00:00Z,fine\n"
    after = f"3,{user},view,2026-01-01T00:00:02Z,next\n"
    bad = f"2,{user},view,2026-01-01T00:00:01Z,"
    text = header + good + bad + cell + "\n" + after
    code, outcome, complaints = run("events", text, "--rejects", rejects)
    assert (code, outcome["stored"], outcome["rejected"]) == (1, 2, 1)
    assert "line 3: has " in complaints
    assert rejects.read_text().splitlines()[1].endswith("," + bad + cell)
    rejects.write_text(rejects.read_text().replace(cell, "mended"))
    code, outcome, complaints = run("events", rejects.read_text())
    assert (code, outcome["stored"]) == (0, 1), complaints
    code, outcome, complaints = run("events", header + good + bad + "mended\n" + after)
    assert (code, outcome["stored"], outcome["already_stored"]) == (0, 0, 3), complaints
    found = running_weir.rows("SELECT properties FROM events WHERE user_id = %s ORDER BY time", user)
    assert found == [({"comment": text},) for text in ("fine", "mended", "next")]


def test_file_whose_ids_follow_from_a_broken_line_is_not_begun(run, running_weir):
    user = str(uuid4())
    text = f'event_id,user_id,event_type,occurred_at,comment\n5,{user},view,2026-01-01T00:00:00Z,"unclosed\n6,{user},view,2026-01-01T00:00:00Z,next\n'
    code, _, complaints = run("events", text)
    assert (code, "line 2 cannot be read" in complaints, "--namespace NAME" in complaints) == (2, True, True)
    assert running_weir.rows("SELECT 1 FROM events WHERE user_id = %s", user) == []


def test_rejected_line_is_kept_as_it_is_and_stays_rejected_until_it_is_mended(run, running_weir, email, tmp_path):
    rejects = tmp_path / "rejects.csv"
    long = "p,2026-01-01T01:00:00Z,7,0,0,8\n"
    odd = b"p,2026-01-01T02:00:00Z,caf\xe9,0,0\n"
    text = readings(3).encode() + long.encode() + b'"p","2026-01-01T03:00:00Z",x,0,0\n' + odd
    code, outcome, complaints = run("readings", text, "--rejects", rejects)
    assert (code, outcome["stored"], outcome["rejected"]) == (1, 3, 3)
    assert complaints.splitlines() == [
        "line 5: has too few or too many columns",
        "line 6: x must be a number; it looks like a",
        "line 7: x must be a number; it looks like aaa?",
    ]
    assert rejects.read_bytes().splitlines() == [
        b"line,field,code,device,timestamp,x,y,z",
        b"5,,columns," + long.encode().strip(),
        b'6,x,not_a_number,"p","2026-01-01T03:00:00Z",x,0,0',
        b"7,x,not_a_number," + odd.strip(),
    ]
    mended = rejects.read_bytes().replace(b",x,0,0", b",1,0,0").replace(b"caf\xe9", b"2")
    again = tmp_path / "again.csv"
    code, outcome, complaints = run("readings", mended, "--rejects", again)
    assert (code, outcome["stored"], outcome["rejected"]) == (1, 2, 1)
    assert again.read_bytes().splitlines()[1] == b"5,,columns," + long.encode().strip()
    code, outcome, complaints = run("readings", again.read_bytes().replace(b",8", b""))
    assert (code, outcome["stored"]) == (0, 1), complaints
    assert [(row[1].hour, row[2]) for row in stored(running_weir, email)][3:] == [(1, 7), (2, 2), (3, 1)]


def test_rejects_of_a_file_without_header_are_imported_with_the_same_options(run, running_weir, email, tmp_path):
    rejects = tmp_path / "rejects.csv"
    options = ["--no-header", "--columns", "when,x,y,z", "--time-column", "when", "--device", "n"]
    text = "2026-01-01T00:00:00Z,1,2,3\n2026-01-01T00:00:01Z,one,2,3\n"
    code, outcome, _ = run("readings", text, *options, "--rejects", rejects)
    assert (code, outcome["stored"], outcome["rejected"]) == (1, 1, 1)
    code, outcome, complaints = run("readings", rejects.read_text().replace("one", "1"), *options)
    assert (code, outcome["stored"]) == (0, 1), complaints
    assert len(stored(running_weir, email)) == 2


def test_rejected_lines_are_told_in_their_order_and_make_no_devices(run, running_weir, email):
    text = readings(2, "good") + "bad,2026-01-01T00:00:00Z,a,b,c\ngood,2026-01-01T01:00:00Z,,0,0\nworse,never,1,2,3\n"
    code, outcome, complaints = run("readings", text)
    assert (code, outcome["stored"], outcome["rejected"]) == (1, 2, 3)
    assert [line.partition(":")[0] for line in complaints.splitlines()] == ["line 4", "line 5", "line 6"]
    assert {row[0] for row in stored(running_weir, email)} == {"good"}
    (user,) = running_weir.http.get("/users/", params={"email": email}).json()
    assert [one["name"] for one in running_weir.http.get("/devices/", params={"user_id": user["id"]}).json()] == [
        "good"
    ]


def test_column_named_twice_is_refused_before_anything_is_sent(run, running_weir, email):
    code, _, complaints = run("readings", "device,timestamp,x,y,z,x\ndh,2026-11-10T00:00:00Z,1,2,3,99\n")
    assert (code, "names a column twice: x" in complaints) == (2, True)
    assert stored(running_weir, email) == []


def test_dry_run_shows_records_as_understood_and_what_is_ignored(run):
    code, shown, complaints = run("readings", SEMICOLONS, "--dry-run", "--delimiter", ";", "--time-zone", "Europe/Berlin",
                                  "--map", "device=sensor_id,x=P1,y=P2,z=0", as_json=False)  # fmt: skip
    assert code == 0, complaints
    assert (
        '  line 2: {"device": "1001", "timestamp": "2017-10-31T00:00:15+01:00", "x": 3.13, "y": 2.37, "z": 0.0}'
        in shown
    )
    assert "Columns that are ignored: sensor_type, location, lat, lon, durP1, ratioP1, durP2, ratioP2" in shown
    assert "2 readings would be accepted" in shown


def test_lines_without_a_value_are_left_out(run, running_weir, email):
    text = readings(2) + "p,2026-01-01T01:00:00Z,-200,0,0\n"
    code, outcome, complaints = run("readings", text, "--missing", "-200")
    assert (code, outcome["stored"], outcome["missing"], outcome["rejected"]) == (0, 2, 1, 0), complaints


def test_beginning_without_a_good_line_is_asked_about(run, running_weir, email):
    text = readings(0) + "p,2025-01-01T00:00:00Z,nan,0,0\n" * 1200 + readings(2).partition("\n")[2]
    code, _, complaints = run("readings", text)
    assert (code, "none of the first 999 records" in complaints, stored(running_weir, email)) == (2, True, [])
    code, outcome, complaints = run("readings", text, "--yes")
    assert (code, outcome["stored"], outcome["rejected"]) == (1, 2, 1200), complaints


def test_times_that_this_command_would_refuse_are_for_the_api_to_judge(run, running_weir, email):
    code, outcome, complaints = run("readings", "device,timestamp,x,y,z\na,1970-01-01T00:00:00Z,1,2,3\n")
    assert (code, outcome["rejected"]) == (1, 1)
    assert "line 2: timestamp is earlier than anything this service accepts" in complaints


def test_rejects_that_cannot_be_written_are_a_sentence(run, running_weir, email):
    text = readings(2) + "p,2026-01-01T01:00:00Z,nan,0,0\n"
    code, _, complaints = run("readings", text, "--rejects", "/dev/full")
    assert (code, complaints.splitlines()[-1]) == (2, "weir: /dev/full cannot be written: No space left on device")
    assert len(stored(running_weir, email)) == 2
