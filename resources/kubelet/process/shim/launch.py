"""Start one command: fork, a session of its own, a clean process, exec; and a sentence for a person where it fails."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import termios
from collections.abc import Mapping, Sequence
from typing import NoReturn

PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND, NOT_EXECUTABLE, CANNOT_START = 127, 126, 128

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
_libc = ctypes.CDLL(None, use_errno=True)


class LaunchError(Exception):
    """The command never ran; `exit_code` is what a shell would give."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def become_subreaper(name: str) -> None:
    """Adopt every orphan below this process, and be known as `name` in ps."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def write_title(title: str) -> None:
    """Write `title` over the command line that ps shows: it stands where the kernel put the arguments of the zygote."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rsplit(b") ", 1)[1].split()
    start, end = int(fields[45]), int(fields[46])
    if start and end > start + 1:
        text = title.encode()[: end - start - 1]
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, text, len(text))


def launch(
    argv: Sequence[str], env: Mapping[str, str], working_dir: str, stdin: int | None, stdout: int, stderr: int, *,
    terminal: bool = False,
) -> int:  # fmt: skip  # one stream a word reads better packed
    """Run `argv` in a session of its own, dying with this process; returns its pid once the exec has happened.

    Without `stdin` it reads nothing; with `terminal`, stdout is a terminal, and becomes the one that controls the session.

    Raises:
        LaunchError: there is no such command, directory or permission.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(told)
        os.close(tell)
        raise LaunchError(CANNOT_START, f"no process can be made: {os.strerror(error.errno or 0)}") from None
    if pid == 0:
        _become(argv, env, working_dir, (stdin, stdout, stderr), tell, parent, terminal=terminal)
    os.close(tell)
    with open(told, "rb") as pipe:
        answer = pipe.read()  # ends at the exec, which closes the other end
    if answer:
        os.waitpid(pid, 0)
        code, message = json.loads(answer)
        raise LaunchError(code, message)
    return pid


def _become(
    argv: Sequence[str], env: Mapping[str, str], working_dir: str, streams: tuple[int | None, int, int], tell: int, parent: int,
    *, terminal: bool,
) -> NoReturn:  # fmt: skip  # one option a word reads better packed
    code, message = CANNOT_START, "the command could not be started"
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(137)  # the shim died before the line above could bind us to it
        os.setsid()
        if terminal:
            fcntl.ioctl(streams[1], termios.TIOCSCTTY, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY) if streams[0] is None else streams[0], 0)
        os.dup2(streams[1], 1)
        os.dup2(streams[2], 2)
        _reset_signals()
        _enter(working_dir)
        _exec(argv, env, working_dir)
    except LaunchError as error:
        code, message = error.exit_code, str(error)
    except OSError as error:
        message = f"the command could not be started: {error}"
    finally:
        os.write(tell, json.dumps([code, message]).encode())
        os._exit(code)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _enter(working_dir: str) -> None:
    try:
        os.chdir(working_dir)
    except FileNotFoundError:
        raise LaunchError(
            CANNOT_START, f"working directory {working_dir!r} does not exist; make it, or set workingDir to one that does"
        ) from None
    except NotADirectoryError:
        raise LaunchError(CANNOT_START, f"working directory {working_dir!r} is a file; set workingDir to a directory") from None
    except PermissionError:
        raise LaunchError(CANNOT_START, f"working directory {working_dir!r} may not be entered; see its permissions") from None


def _exec(argv: Sequence[str], env: Mapping[str, str], working_dir: str) -> NoReturn:
    if not argv or not argv[0]:
        raise LaunchError(CANNOT_START, "there is no command; set command to a program and its arguments")
    command = argv[0]
    path = env.get("PATH", PATH_DEFAULT)
    folders = [""] if "/" in command else path.split(os.pathsep)
    refused: tuple[str, OSError] | None = None
    for folder in folders:
        file = os.path.join(folder, command)
        try:
            os.execve(file, list(argv), dict(env))  # noqa: S606  # no shell is wanted
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.isfile(file):
                refused = refused or (file, error)
        except OSError as error:
            refused = refused or (file, error)
        except ValueError as error:
            raise LaunchError(CANNOT_START, f"command {command!r} or its environment cannot be passed on: {error}") from None
    if refused:
        raise _refusal(*refused)
    if "/" in command:
        where = "" if command.startswith("/") else f" (seen from the working directory {working_dir!r})"
        raise LaunchError(NOT_FOUND, f"command not found: there is no file {command!r}{where}")
    raise LaunchError(NOT_FOUND, f"command not found: no {command!r} in PATH ({path}); give its full path, or set PATH in env")


def _refusal(file: str, error: OSError) -> LaunchError:
    if isinstance(error, FileNotFoundError):
        with open(file, "rb") as script:
            first = script.readline(256).decode(errors="replace").strip()
        needs = first[2:].strip() if first.startswith("#!") else "its loader (another architecture or libc?)"
        return LaunchError(NOT_FOUND, f"{file!r} cannot be executed: {needs!r}, which it asks for, does not exist")
    if isinstance(error, PermissionError):
        if os.path.isdir(file):
            return LaunchError(NOT_EXECUTABLE, f"{file!r} is a directory; command must name a program")
        return LaunchError(NOT_EXECUTABLE, f"{file!r} is not executable; run chmod +x on it, or start it by its interpreter")
    if error.errno == errno.ENOEXEC:
        return LaunchError(NOT_EXECUTABLE, f"{file!r} is not a program: it has neither a #! line nor a known binary format")
    if error.errno == errno.E2BIG:
        return LaunchError(NOT_EXECUTABLE, f"{file!r}: arguments and environment together are too long for this machine")
    return LaunchError(NOT_EXECUTABLE, f"{file!r} cannot be executed: {os.strerror(error.errno or 0)}")
