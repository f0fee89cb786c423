"""What the application asked for, read from the keyword arguments of `create` without consuming any iterator.  Pure.

Arguments and their shapes: the OpenAI API reference, "Create chat completion" and "Create a model response".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from otel_llm.protocol.conversation import Turn, holds_conversation, read_turn
from otel_llm.protocol.fields import arguments_given, field, given, is_a, is_empty, items_of, text_of
from otel_llm.protocol.item_kinds import is_left_to_server, is_tool_search, tool_named_by, tools_in
from otel_llm.protocol.past_calls import Conversation, read_conversation
from otel_llm.protocol.request_text import RequestText

Api = Literal[
    "chat",
    "responses",
    "completions",
    "embeddings",
    "messages",
    "converse",
    "gemini",
    "mistral",
    "ollama",
    "huggingface",
]
"""OpenAI's chat completions, responses, text completions and embeddings, Anthropic's messages, Bedrock's Converse API,
Google's generated content, Ollama's chats, and chat completions in the classes of Mistral's and Hugging Face's SDKs."""
ToolChoiceMode = Literal["auto", "none", "required", "named"]


class Tool(NamedTuple):
    """A tool that the request declares. `parameters` is its JSON schema, None if it has none."""

    name: str
    kind: Literal["function", "custom", "built_in"] = "function"
    """`built_in`: a tool of the API that the application runs, such as a shell."""
    parameters: Any = None

    @property
    def takes_arguments(self) -> bool:
        """Whether its schema declares parameters, or may: it declares no properties only if it shows them."""
        if self.parameters is None:
            return False
        shapes = (field(self.parameters, name) for name in ("$ref", "anyOf", "oneOf", "allOf", "patternProperties"))
        return bool(field(self.parameters, "properties")) or any(shapes)

    @property
    def requires_arguments(self) -> bool:
        """Whether its schema has a required parameter."""
        return bool(items_of(field(self.parameters, "required"))) if self.parameters is not None else False


class ToolChoice(NamedTuple):
    """The request's `tool_choice`. `names`: the tools that it allows, None if it allows all."""

    mode: ToolChoiceMode = "auto"
    names: frozenset[str] | None = None


class Fetch(NamedTuple):
    """A request for a response that was made before. `starting_after`: the number of the event to resume behind."""

    response_id: str
    starting_after: int | None = None


_NO_TOOLS: Mapping[str, Tool] = MappingProxyType({})


class ChatRequest(NamedTuple):
    """One request, as far as telemetry and diagnosis need it.

    `tools` is None if the declared tools cannot be known, because the application passed an iterator, which must not be
    consumed here. Nothing is then judged by the tools.
    """

    model: str = ""
    stream: bool = False
    tools: Mapping[str, Tool] | None = None
    has_server_tools: bool = False
    """Whether there are tools that the server runs itself (`{"type": "web_search"}`), whose calls may have any name."""
    tool_choice: ToolChoice = ToolChoice()
    tool_choice_text: str = ""
    parallel_tool_calls: bool | None = None
    wants_json: bool = False
    """Whether `response_format` asks for JSON, so that an object in the text is the answer and not a call."""
    api: Api = "chat"
    turn: Turn | None = None
    """The last turn of the conversation, None if it has neither calls nor results."""
    conversation: Conversation = Conversation(source=())
    """The messages or input items, as they are; what they say is read when a judge asks."""
    wants_usage: bool = False
    """Whether `stream_options` asks for the usage."""
    said: RequestText = RequestText({})
    """All that it says, to see what it asks for."""
    wants_raw_thoughts: bool = False
    """Whether it asks the server to leave the model's thoughts in the text, with their marks."""
    thinking: str = ""
    """What it says of how the model is to think, by which a chat template may open the thoughts."""
    item_tools: Mapping[str, Tool] = _NO_TOOLS
    """Those of `tools` that items of the conversation declare. Requests that continue from here do not repeat them."""
    leaves_searches: bool = False
    """Whether the application may have to answer a search for tools, and so to find any."""
    has_unseen_tools: bool = False
    """Whether it may have found some in a part of the conversation that only the server has."""
    may_be_empty: bool = False
    """Whether an answer without text may be right: the prompt of a text completion may lack nothing."""
    fetch: Fetch | None = None
    """What it fetches, if it asks no model."""

    @property
    def tool_names(self) -> frozenset[str] | None:
        """The names that a call may have, None if any name may be right."""
        if self.tools is None or self.has_server_tools or self.has_unseen_tools:
            return None
        return frozenset(self.tools)

    def with_earlier_tools(self, tools: Mapping[str, Tool], *, are_all: bool) -> ChatRequest:
        """The request, where items of the conversation that the server has declare these tools.

        `are_all`: nothing in that part of the conversation is unknown.
        """
        if self.tools is None:
            return self
        return self._replace(
            tools={**tools, **self.tools},
            item_tools={**tools, **self.item_tools},
            has_unseen_tools=self.has_unseen_tools and not are_all,
        )

    def leaves_to_server(self, name: str | None) -> bool:
        """Whether a call of this name is the server's, because only the server has tools that are not declared."""
        return self.has_server_tools and self.tools is not None and name not in self.tools


_AUTO = ToolChoice()
_FORMATS = frozenset({"response_format", "text_format", "text"})
# Groq, Cerebras and llama.cpp have the first one, SGLang the second.
_THOUGHTS = frozenset({"reasoning_format", "separate_reasoning"})
# Longer settings are told apart by their beginning.
_MOST_SAID = 500
_THINKING = frozenset({"chat_template_kwargs", "reasoning_effort", "enable_thinking", "thinking", "reasoning"})
_READ = (
    _FORMATS
    | _THOUGHTS
    | _THINKING
    | frozenset(
        {
            "model",
            "stream",
            "tools",
            "functions",
            "tool_choice",
            "function_call",
            "parallel_tool_calls",
            "prompt",
            "stream_options",
        }
    )
)


def read_request(kwargs: Mapping[str, Any], api: Api = "chat") -> ChatRequest:
    """Read the arguments of a `create` call. `extra_body` takes precedence, as it does on the wire."""
    kwargs = with_extra_body(kwargs)
    given = arguments_given(kwargs, _READ)
    get = given.get

    found = _Entries()
    tools: dict[str, Tool] | None = found.tools
    for source in (get("tools"), get("functions")):
        if source is None:
            continue
        if not is_a(source, (list, tuple)):
            tools = None
            break
        for entry in source:
            found.add(entry)
    item_tools: Mapping[str, Tool] = _NO_TOOLS
    if tools is not None and "input" in kwargs:
        item_tools = found.add_items(items_of(field(kwargs, "input")))
    # A stored prompt may have tools of its own.
    server_tools = get("prompt") is not None or found.are_of_server
    leaves_searches = found.leave_searches

    choice = get("tool_choice")
    if choice is None:
        choice = get("function_call")
    parallel = get("parallel_tool_calls")
    return ChatRequest(
        _describe(get("model")),
        _is_true(get("stream")),
        tools,
        server_tools,
        _AUTO if choice is None else _read_tool_choice(choice),
        "" if choice is None else _describe_tool_choice(choice),
        parallel if parallel is True or parallel is False else None,
        not _FORMATS.isdisjoint(given) and _asks_for_json(get("response_format"), get("text_format"), get("text")),
        api,
        read_turn(kwargs, tools, has_server_tools=server_tools),
        read_conversation(kwargs),
        "stream_options" in given and field(get("stream_options"), "include_usage") is True,
        RequestText(kwargs),
        not _THOUGHTS.isdisjoint(given) and _wants_raw(get("reasoning_format"), get("separate_reasoning")),
        "" if _THINKING.isdisjoint(given) else _describe([given.get(name) for name in sorted(_THINKING)])[:_MOST_SAID],
        item_tools,
        leaves_searches,
        leaves_searches and holds_conversation(kwargs),
        api == "completions" and _may_be_empty(kwargs),
    )


def with_extra_body(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a `create` call as they are on the wire, where those in `extra_body` replace others."""
    extra = kwargs.get("extra_body")
    return {**kwargs, **extra} if extra is not None and is_a(extra, Mapping) else kwargs


def api_of_request(body: Mapping[str, Any]) -> Api:
    """The API that a request's JSON body is for."""
    if "messages" in body:
        return "chat"
    if "input" in body:
        return "responses"
    if "contents" in body:
        return "gemini"
    # The prompt of the Responses API is an object.
    return "completions" if isinstance(body.get("prompt"), (str, list)) else "chat"


def _may_be_empty(kwargs: Mapping[str, Any]) -> bool:
    """Whether a text completion may stop at once, fills a gap, or only scores its prompt."""
    return (
        not is_empty(given(kwargs.get("stop")))
        or not is_empty(given(kwargs.get("suffix")))
        or given(kwargs.get("max_tokens")) == 0
    )


def _wants_raw(reasoning_format: Any, separate_reasoning: Any) -> bool:
    return text_of(reasoning_format) in {"raw", "none"} or separate_reasoning is False


def _describe(value: Any) -> str:
    try:
        return "" if value is None else str(value)
    except Exception:  # noqa: BLE001  the SDK will raise its own error
        return ""


def _is_true(value: Any) -> bool:
    try:
        return bool(value)
    except Exception:  # noqa: BLE001  as above
        return False


def read_tools(entries: Iterable[Any]) -> dict[str, Tool]:
    """The tools, by name, that entries of `tools` declare, without those that the server runs itself."""
    found = _Entries()
    for entry in entries:
        found.add(entry)
    return found.tools


class _Entries:
    """What entries of `tools` declare.

    `are_of_server`: one is a tool that the server runs itself. `leave_searches`: one is a search for tools that the
    application may have to answer.
    """

    __slots__ = ("are_of_server", "leave_searches", "tools")

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}
        self.are_of_server = self.leave_searches = False

    def add(self, entry: Any) -> None:
        tool = read_tool(entry)
        if tool is not None:
            self.tools[tool.name] = tool
            if tool.kind != "built_in":
                return
        if is_tool_search(entry):
            self.leave_searches = self.leave_searches or not is_left_to_server(entry)
        elif tool is None:
            self.are_of_server = True
            for inner in items_of(field(entry, "tools")) if field(entry, "type") == "namespace" else ():
                # A namespace. Its calls may have its name before the tool's, so other names are possible, too.
                tool = read_tool(inner)
                if tool is not None:
                    self.tools[tool.name] = tool

    def add_items(self, items: Iterable[Any]) -> dict[str, Tool]:
        """Add what input items declare. Returns their tools."""
        in_items = _Entries()
        for item in items:
            for entry in tools_in(item, item.get("type") if type(item) is dict else field(item, "type")):
                in_items.add(entry)
        self.tools |= in_items.tools
        self.are_of_server = self.are_of_server or in_items.are_of_server
        self.leave_searches = self.leave_searches or in_items.leave_searches
        return in_items.tools


def read_tool(entry: Any) -> Tool | None:
    """The tool that an entry of `tools` or `functions` declares, None if it is one that the server runs itself."""
    if type(entry) is dict and type(function := entry.get("function")) is dict:
        # A short cut for the usual form: an agent sends dozens of these with each request.
        name, parameters = function.get("name"), function.get("parameters")
        if type(name) is str and name and type(parameters) is dict:
            return Tool(name, "function", parameters)
    body = field(entry, "function")
    if body is None:
        if name := text_of(field(field(entry, "custom"), "name")):
            return Tool(name, "custom")
        # The Responses API has the fields at the top level.
        body, kind = entry, field(entry, "type")
        if kind == "custom" and (name := text_of(field(entry, "name"))):
            return Tool(name, "custom")
        if kind is not None and kind != "function":
            built_in = tool_named_by(entry)
            return None if built_in is None else Tool(built_in, "built_in")
    name = text_of(field(body, "name"))
    return None if name is None else Tool(name, "function", field(body, "parameters"))


def _asks_for_json(response_format: Any, text_format: Any, text: Any) -> bool:
    return any(map(_is_json, (response_format, text_format, field(text, "format"))))


def _is_json(format_: Any) -> bool:
    """Whether a `response_format` asks for JSON. A class does, since its schema is sent."""
    return is_a(format_, type) or text_of(field(format_, "type")) in {"json_object", "json_schema"}


def _read_tool_choice(choice: Any) -> ToolChoice:
    word = text_of(choice)
    if word is not None:
        # Some servers call "required" "any".
        if word in {"required", "any"}:
            return ToolChoice("required")
        return ToolChoice("none") if word == "none" else ToolChoice()
    kind = text_of(field(choice, "type"))
    allowed = field(choice, "allowed_tools") or (choice if kind == "allowed_tools" else None)
    if allowed is not None:
        mode: ToolChoiceMode = "required" if text_of(field(allowed, "mode")) == "required" else "auto"
        entries = items_of(field(allowed, "tools"))
        names = [*_names_of(entries)]
        # An entry without a name is a tool that the server runs itself, which allows calls of any name.
        return ToolChoice(mode, frozenset(names) if names and len(names) == len(entries) else None)
    # A tool that the server runs itself can be chosen too, but its calls are not reported as tool calls.
    names = [*_names_of([choice])] if kind in {None, "function", "custom"} or tool_named_by(choice) else []
    return ToolChoice("named", frozenset(names)) if names else ToolChoice()


def _names_of(entries: Iterable[Any]) -> Iterable[str]:
    for entry in entries:
        for body in (field(entry, "function"), field(entry, "custom"), entry):
            if name := text_of(field(body, "name")):
                yield name
                break
        else:
            if built_in := tool_named_by(entry):
                yield built_in


def _describe_tool_choice(choice: Any) -> str:
    word = text_of(choice)
    if word is not None:
        return word
    names = _read_tool_choice(choice).names
    if names:
        return ", ".join(sorted(names))
    return text_of(field(choice, "type")) or ""
