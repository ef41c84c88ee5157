"""The file ``.env``: what people write is read; what is not understood stops the start and is never repeated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.conf.env_file import EnvFileInvalid, load_env_file, read_env_file, without_file

SECRET = "s3cret-Value"


@pytest.fixture
def written(tmp_path):
    """Write a file and read it: ``written("A=b")``."""

    def write_and_read(content):
        path = tmp_path / ".env"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_env_file(path)

    return write_and_read


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("GATEWAY__SECRET_KEY=x", "x"),
        ("GATEWAY__SECRET_KEY = x", "x"),
        ("  GATEWAY__SECRET_KEY\t=\tx  ", "x"),
        ("GATEWAY__SECRET_KEY=\u00a0x", "x"),
        ("export GATEWAY__SECRET_KEY=x", "x"),
        ("export   GATEWAY__SECRET_KEY = x", "x"),
        ("GATEWAY__SECRET_KEY='x y'", "x y"),
        ('GATEWAY__SECRET_KEY="x y"', "x y"),
        ('GATEWAY__SECRET_KEY = "x" # the new one', "x"),
        ("GATEWAY__SECRET_KEY=x # the new one", "x"),
        ("GATEWAY__SECRET_KEY=x#y", "x#y"),
        ("GATEWAY__SECRET_KEY=#y", "#y"),
        ("GATEWAY__SECRET_KEY='x #y'", "x #y"),
        ("GATEWAY__SECRET_KEY= # none yet", ""),
        ("GATEWAY__SECRET_KEY=", ""),
        ("GATEWAY__SECRET_KEY=a=b==", "a=b=="),
        ("GATEWAY__SECRET_KEY=a$b$(c)", "a$b$(c)"),
        ("GATEWAY__SECRET_KEY='a${b}'", "a${b}"),
        (r'GATEWAY__SECRET_KEY="a\"b"', 'a"b'),
        ("GATEWAY__SECRET_KEY=é", "é"),
    ],
)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\r", "\n\n# the end\n"])
@pytest.mark.parametrize("beginning", ["", "\ufeff", "# settings, it's said\r\n\r\n"])
def test_what_people_write_is_read_as_other_tools_read_it(written, line, value, ending, beginning):
    assert written(beginning + line + ending) == {"GATEWAY__SECRET_KEY": value}


@pytest.mark.parametrize(
    "line",
    [
        f"GATEWAY__SECRET_KEY {SECRET}",
        f"GATEWAY__SECRET_KEY: {SECRET}",
        "GATEWAY__SECRET_KEY",
        f'GATEWAY__SECRET_KEY="{SECRET}',
        f"GATEWAY__SECRET_KEY='{SECRET}",
        f'GATEWAY__SECRET_KEY="{SECRET}"x',
        f"GATEWAY__SECRET_KEY='{SECRET}\nGATEWAY__ADMIN=true'",
        f"GATEWAY__SECRET_KEY=${{{SECRET}}}",
        f'GATEWAY__SECRET_KEY="${{{SECRET}}}"',
        f"GATEWAY__SECRET_KEY-X={SECRET}",
        f"GATEWAY__SECRET_KEY={SECRET}\n\nGATEWAY__SECRET_KEY={SECRET}",
    ],
)
def test_a_line_that_is_not_understood_is_named_and_not_repeated(written, line):
    with pytest.raises(EnvFileInvalid) as raised:
        written(f"# ours\n\n{line}\nGATEWAY__DEBUG=true\n")
    words = str(raised.value)
    assert SECRET not in f"{words}{raised.value!r}"
    number = 5 if "\n\n" in line else 3  # the second of two is too many
    assert f".env, line {number} (GATEWAY__SECRET_KEY): " in words


@pytest.mark.parametrize(
    "line", [f"{SECRET}", f"{SECRET} x", f"={SECRET}", f"set GATEWAY__DEBUG={SECRET}", f"'{SECRET}"]
)
def test_a_line_that_begins_with_no_setting_is_named_by_its_number_alone(written, line):
    with pytest.raises(EnvFileInvalid) as raised:
        written(f"GATEWAY__ADMIN=true\n{line}\n")
    assert ".env, line 2: this " in str(raised.value)
    assert "s3cret" not in f"{raised.value}{raised.value!r}"


def test_every_wrong_line_is_named(written):
    with pytest.raises(EnvFileInvalid) as raised:
        written("GATEWAY__ADMIN\nGATEWAY__DEBUG=true\nGATEWAY__HTTPS: true\n")
    first, second = raised.value.problems
    assert first.startswith(", line 1 (GATEWAY__ADMIN): this is not NAME=value")
    assert second.startswith(", line 3 (GATEWAY__HTTPS): this line is not valid")


def test_a_setting_that_stands_twice_is_refused_with_both_lines(written):
    with pytest.raises(EnvFileInvalid, match=r"line 3 \(GATEWAY__ADMIN\): this setting is also in line 1"):
        written("GATEWAY__ADMIN=true\n\nGATEWAY__ADMIN=false\n")


@pytest.mark.parametrize(
    "content", ["GATEWAY__ADMIN=true".encode("utf-16"), "GATEWAY__ADMIN=true".encode("utf-16-le"), b"A=\xff", b"A=\0"]
)
def test_a_file_in_another_encoding_is_refused(written, content):
    with pytest.raises(EnvFileInvalid, match=r"\.env is not a text file in UTF-8"):
        written(content)


def test_a_file_that_is_there_and_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "link"):
        with pytest.raises(EnvFileInvalid, match=f"{name} cannot be read: "):
            read_env_file(tmp_path / name)


def test_there_need_not_be_a_file(tmp_path):
    assert read_env_file(tmp_path / ".env") == {}


def test_the_environment_wins_over_the_file(tmp_path):
    (tmp_path / ".env").write_text("A=file\nB=file\n")
    environment = {"A": "environment"}
    load_env_file(tmp_path / ".env", environment)
    assert environment == {"A": "environment", "B": "file"}


def test_a_process_that_reads_the_file_again_gets_the_environment_without_it(tmp_path):
    (tmp_path / ".env").write_text("OF_FILE=1\nOF_BOTH=1\n")
    environment = {"OF_BOTH": "2", "OF_ENVIRONMENT": "3"}
    load_env_file(tmp_path / ".env", environment)
    assert without_file(environment) == {"OF_BOTH": "2", "OF_ENVIRONMENT": "3"}


def test_what_django_reads_before_the_file_must_not_be_in_it_with_another_value(tmp_path):
    (tmp_path / ".env").write_text("DJANGO_SETTINGS_MODULE=own.settings\n")
    load_env_file(tmp_path / ".env", {"DJANGO_SETTINGS_MODULE": "own.settings"})
    with pytest.raises(EnvFileInvalid, match="DJANGO_SETTINGS_MODULE, which is read before this file"):
        load_env_file(tmp_path / ".env", {"DJANGO_SETTINGS_MODULE": "gateway_project.settings"})


@given(st.text(alphabet=st.sampled_from("AB_=\"'# \t\r\n\\${}é\ufeff\u2028exportGATEWAY__ADMIN"), max_size=60))
def test_any_text_is_read_or_refused_in_words(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.env"
    path.write_bytes(text.encode())
    try:
        settings = read_env_file(path)
    except EnvFileInvalid:
        return
    assert all(name.isidentifier() and name.isascii() for name in settings)
