"""What can be wrong with the name, the id and the index of a call."""

from __future__ import annotations

from otel_llm.diagnosis.explanations.model import (
    HEAD,
    TITLE,
    WHOLE,
    Explanation,
    Sample,
    Seen,
    calls,
    delta,
    ends,
)

_GROUP = "Identity"


IDENTITY: tuple[Explanation, ...] = (
    Explanation(
        "missing_name",
        _GROUP,
        "The call's name never arrived. A name that arrives late raises no anomaly.",
        (
            Seen("open-webui/open-webui#29690", "a custom SGLang build sent null"),
            Seen("farion1231/cc-switch#4158", "names empty or absent"),
            Seen("langchain4j/langchain4j#5209", "DeepSeek: an extra, empty call at its own index after the real ones"),
        ),
        "The call cannot be executed. Repeat the request without streaming: if the name arrives, the server's streaming"
        " parser lost it.",
        Sample((calls(delta(0, "call_1", arguments=TITLE)), ends())),
    ),
    Explanation(
        "missing_id",
        _GROUP,
        "The call's id never arrived, or is an empty string. The legacy `function_call` needs no id.",
        (
            Seen("ggml-org/llama.cpp#12279", "empty ids, on which Semantic Kernel failed"),
            Seen("camel-ai/camel#3027", "Gemini sends empty ids"),
        ),
        "A result refers to its call by the id: generate one, and use it in both messages.",
        Sample((calls(delta(0, None, "add_task", TITLE)), ends())),
    ),
    Explanation(
        "missing_index",
        _GROUP,
        "A delta had no index, a null index, or one that is not a usable number. otel-llm then takes different ids for"
        " different calls, and a delta without an id for a continuation of the last call.",
        (
            Seen("ollama/ollama#7881", "no index before 0.4.7"),
            Seen("brainlid/langchain#620", "Gemini's parts carry no index"),
        ),
        "Clients that group deltas by index lose or mix such calls, and the OpenAI SDK's own `stream()` helper raises: group"
        " the deltas by id.",
        Sample((calls(delta(None, "call_1", "add_task", TITLE)), ends())),
    ),
    Explanation(
        "name_changed",
        _GROUP,
        "A later delta gives the call a different name. Repeating the same name raises no anomaly, nor do pieces that join to"
        " the name of a declared tool.",
        (
            Seen("NousResearch/hermes-agent#3468", "clients that concatenate names get `terminalterminal`"),
            Seen("continuedev/continue#5849", "some models send the name in pieces, some repeat it"),
        ),
        "Two calls may have been sent as one: look at their arguments. Before you concatenate names, check whether the name"
        " is only repeated.",
        Sample((HEAD, calls(delta(0, None, "list_tasks", TITLE)), ends())),
    ),
    Explanation(
        "id_changed",
        _GROUP,
        "A later delta gives the call a different id, but does not begin a new call.",
        (Seen("poolsideai/pool#9", "one id in the first chunk, another in all later ones"),),
        "Use the first id. A client that tells calls apart by id sees two calls: one without a name, the other without"
        " arguments.",
        Sample((HEAD, calls(delta(0, "call_x", arguments=TITLE)), ends())),
    ),
    Explanation(
        "index_reused",
        _GROUP,
        "A second call begins at an index that is in use: its delta has a different id and a name, and either the name"
        " differs or the arguments so far are one complete JSON value. otel-llm treats it as a separate call.",
        (
            Seen("ollama/ollama#15457", "every call has index 0"),
            Seen("BerriAI/litellm#33678", "the same through `ollama_chat`"),
            Seen("BerriAI/litellm#21331", "the same for models of the Responses API"),
            Seen("ai-dynamo/dynamo#4723", "index 0 for parallel calls"),
            Seen("InternLM/lmdeploy#3412", "the same in LMDeploy, compared with vLLM and SGLang"),
        ),
        "A client that groups deltas by index gets `{}{}` and can execute neither call: begin a new call when the id changes.",
        Sample((WHOLE, calls(delta(0, "call_2", "list_tasks", "{}")), ends())),
    ),
    Explanation(
        "duplicate_id",
        _GROUP,
        "Two calls in one choice have the same id.",
        (
            Seen("mudler/LocalAI#9722", "one call at several indexes, with one id"),
            Seen(
                "HKUDS/nanobot#4473",
                "Kimi's coding endpoint gives parallel calls the same id, and rejects it when it is sent back",
            ),
            Seen("QuantumNous/new-api#6278", "a call sent again under the next index"),
        ),
        "Their results cannot be told apart. If both are the same call, drop one; otherwise assign a new id to one of them.",
        Sample((WHOLE, calls(delta(1, "call_1", "list_tasks", "{}")), ends())),
    ),
    Explanation(
        "duplicate_call",
        _GROUP,
        "Two calls in one choice have the same name and the same arguments. Arguments are compared by meaning: white space"
        " and the order of keys make no difference. A tool without parameters may be called twice, and so may any other if"
        " the user's last message asks for a number of times.",
        (
            Seen("mudler/LocalAI#9722", "the server repeats the call"),
            Seen("OpenRouterTeam/ai-sdk-provider#489", "a client that saw each call twice ran each command twice"),
        ),
        "If running the tool twice does harm, run it once. The model may have meant it, though.",
        Sample((WHOLE, calls(delta(1, "call_2", "add_task", '{"title":"buy milk"}')), ends())),
    ),
)
