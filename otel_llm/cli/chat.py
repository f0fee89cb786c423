"""``otel-llm chat``: chat with a model, and see its tool calls in tags of your choice.

    otel-llm chat --base-url http://127.0.0.1:8000/v1 --model qwen3-coder --stream
    you: /tooltag 'ojlk' 'dfsd'
    Tool call tags set to: ojlk...dfsd

Calls are shown, not executed. Each request has a span, as with the instrumentor.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_llm.cli.base_url import chosen_base_url
from otel_llm.cli.output import say
from otel_llm.exchanges.server_url import check_url

if TYPE_CHECKING:
    import argparse

_HELP = """\
/tooltag 'start' 'end'   rewrite tool calls in the text to these tags
/tooltag openai          turn them into real tool calls
/tooltag NAME            one tag for both ends, or the name of a format (qwen, llama, xml, gemma)
/tooltag off             leave them as the model writes them
/clear                   start a new conversation
/help                    show this text
/quit                    leave (or end the input)"""


def add_parser(commands: Any) -> None:
    """Add the subcommand to what ``ArgumentParser.add_subparsers`` returned."""
    parser = commands.add_parser(
        "chat",
        help="chat with a model and see its tool calls in tags of your choice",
        description="Chat with a model on an OpenAI-compatible server. Commands start with a slash: /help lists them.",
    )
    parser.add_argument("--base-url", help="the server's URL, including /v1 (default: OPENAI_BASE_URL, or OpenAI's)")
    parser.add_argument("--model", required=True, help="the model's name")
    parser.add_argument("--api-key", help="default: OPENAI_API_KEY; most local servers need none")
    parser.add_argument("--stream", action="store_true", help="show answers as they are generated")
    parser.add_argument("--system", help="a system message to start with")
    parser.add_argument("--tools", type=Path, metavar="FILE", help="a JSON file with the `tools` of each request")
    parser.add_argument(
        "--tooltag", metavar="TAGS", help="tags to start with: start,end, one tag, a format's name, or openai"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Chat until the input ends; 0, or 2 if the chat cannot start."""
    _accept_any_text()
    try:
        import openai
    except ImportError:
        say("otel-llm chat needs the OpenAI SDK: pip install 'otel-llm[instruments]'")
        return 2
    try:
        tools = None if arguments.tools is None else _tools_in(arguments.tools)
        check_url(chosen_base_url(arguments.base_url))
        conversation = Conversation(openai, arguments, tools)
        if arguments.tooltag:
            print(conversation.set_tags([arguments.tooltag]))
    except (OSError, ValueError, TypeError, openai.OpenAIError) as error:
        say(f"otel-llm chat: {error}")
        return 2
    while (line := _read_line()) is not None:
        if not line.strip():
            continue
        if line.startswith("/"):
            if not _command(conversation, line):
                break
            continue
        try:
            conversation.ask(line)
        except BrokenPipeError:
            # The OpenAI SDK has errors of its own for connections: this is the reader of standard output.
            raise
        except Exception as error:  # noqa: BLE001 - a server may answer anything, and the chat goes on
            say(f"[error] {type(error).__name__}: {' '.join(str(error).split())}")
    return 0


def _tools_in(path: Path) -> list[Any]:
    """The tools in a JSON file. Raises ValueError, which names the file."""
    from otel_llm.protocol.errors import UnreadableError
    from otel_llm.protocol.json_values import parse_json

    try:
        tools = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, UnreadableError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(tools, list):
        raise ValueError(f"{path}: it holds no list of tools")  # noqa: TRY004  about the file, as the others
    return tools


def _accept_any_text() -> None:
    """Replace input that is not text in its encoding, and escape what the output's encoding lacks."""
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            with contextlib.suppress(OSError):  # it was read from already
                reconfigure(errors=errors)


def _read_line() -> str | None:
    try:
        return input("you: " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def _command(conversation: Conversation, line: str) -> bool:
    """Execute a command; False if it is to quit."""
    try:
        name, *words = shlex.split(line)
    except ValueError as error:
        print(f"{error} in: {line}")
        return True
    if name in {"/quit", "/exit"}:
        return False
    if name == "/tooltag":
        try:
            print(conversation.set_tags(words))
        except ValueError as error:
            print(f"Tool call tags not set: {error}")
    elif name == "/clear":
        conversation.clear()
        print("This is a new conversation.")
    elif name == "/help":
        print(_HELP)
    else:
        print(f"There is no command {name}; /help lists them.")
    return True


class Conversation:
    """The messages so far, and a client that rewrites tool calls."""

    def __init__(self, sdk: Any, arguments: argparse.Namespace, tools: Any) -> None:
        self._sdk = sdk
        self._arguments = arguments
        self._tools = tools
        self._client = self._make_client(None)
        self._messages: list[Any] = []
        self.clear()

    def clear(self) -> None:
        system = self._arguments.system
        self._messages = [{"role": "system", "content": system}] if system else []

    def set_tags(self, words: list[str]) -> str:
        """Rewrite from now on; the value says how. Raises ValueError for unusable tags."""
        from otel_llm.tags import ToolCallTags
        from otel_llm.tags.target import doubt_about, read_target

        if words in (["off"], ["none"]):
            self._client = self._make_client(None)
            return "Tool call tags are off."
        if len(words) not in {1, 2}:
            raise ValueError("use /tooltag 'start' 'end', /tooltag openai or /tooltag off")
        target = ToolCallTags(words[0], words[1]) if len(words) == 2 else read_target(words[0])
        if target is None:
            raise ValueError("the tags are empty; /tooltag off leaves tool calls as they are")
        self._client = self._make_client(target)
        tags = getattr(target, "target_tags", target)
        shown = f"{tags.start_tag.strip()}...{tags.end_tag.strip()}" if isinstance(tags, ToolCallTags) else str(target)
        doubt = doubt_about(words[0]) if len(words) == 1 else None
        return f"Tool call tags set to: {shown}" + (f"\n{doubt}" if doubt else "")

    def _make_client(self, target: Any) -> Any:
        from otel_llm import intercept_llm_requests

        key = self._arguments.api_key or os.environ.get("OPENAI_API_KEY") or "none"
        client = self._sdk.OpenAI(api_key=key, base_url=self._arguments.base_url)
        return intercept_llm_requests(client, tool_call_tags=target, log=False)

    def ask(self, text: str) -> None:
        """Send a message and show the answer.

        Raises what the OpenAI SDK raises, and any error for a malformed answer. The message is not kept then.
        """
        messages = [*self._messages, {"role": "user", "content": text}]
        request: dict[str, Any] = {"model": self._arguments.model, "messages": messages}
        if self._tools:
            request["tools"] = self._tools
        create = self._client.chat.completions.create
        if self._arguments.stream:
            content, calls = _show_stream(create(**request, stream=True))
        else:
            message = create(**request).choices[0].message
            content, calls = _sendable(message.content or ""), [_call_of(call) for call in message.tool_calls or ()]
            print(message.content or "", end="")
        for call in calls:
            print(f"\n[tool call] {call['function']['name']}({call['function']['arguments']})", end="")
        print()
        answer: dict[str, Any] = {"role": "assistant", "content": content or None}
        self._messages = [*messages, answer | ({"tool_calls": calls} if calls else {})]
        # Each call needs a result before the next message.
        self._messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": "not executed: this is a chat"} for call in calls
        ]


def _show_stream(stream: Any) -> tuple[str, list[dict[str, Any]]]:
    """Show the text as it arrives; the value is all of it, and the calls."""
    content: list[str] = []
    calls: dict[int, dict[str, Any]] = {}
    chunk = None
    try:
        with stream:
            for chunk in stream:
                for choice in chunk.choices[:1]:
                    if choice.delta.content:
                        content.append(choice.delta.content)
                        print(choice.delta.content, end="", flush=True)
                    for delta in choice.delta.tool_calls or ():
                        _add_delta(calls, delta)
    except Exception:
        if content:
            print(flush=True)  # the error gets a line of its own
        raise
    if chunk is None:
        raise ValueError("the answer is not a stream, or an empty one")
    return _sendable("".join(content)), list(calls.values())


def _add_delta(calls: dict[int, dict[str, Any]], delta: Any) -> None:
    call = calls.setdefault(delta.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call["id"] = delta.id or call["id"]
    if delta.function is not None:
        call["function"]["name"] += _sendable(delta.function.name or "")
        call["function"]["arguments"] += _sendable(delta.function.arguments or "")


def _call_of(call: Any) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {
            "name": _sendable(call.function.name or ""),
            "arguments": _sendable(call.function.arguments or ""),
        },
    }


def _sendable(text: str) -> str:
    """Replace lone surrogates: with one in the conversation, every later request would fail."""
    return text.encode("utf-8", "replace").decode("utf-8")
