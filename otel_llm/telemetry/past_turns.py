"""The turns before a response of the Responses API, for a request that continues from it and does not send them.

Each instrumentation has one `PastTurns`, which all threads share. It is bounded: the oldest responses are forgotten.
Of arguments and results it keeps what they mean, or a digest of that.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from otel_llm.protocol.past_calls import Conversation, MadeCall, Remembered, remember
from otel_llm.protocol.recording import Recording
from otel_llm.protocol.request import ChatRequest
from otel_llm.transparency.forks import renew_lock_in_children

_MOST_RESPONSES = 1024
_LONGEST_ID = 512


class PastTurns:
    """What was observed of conversations, by the id of their last response."""

    def __init__(self, most: int = _MOST_RESPONSES) -> None:
        self._most = most
        self._of_response: OrderedDict[str, Remembered] = OrderedDict()
        self._lock = threading.Lock()
        renew_lock_in_children(self)

    def remember(self, request: ChatRequest, recording: Recording) -> None:
        """Remember the conversation up to a response that is over."""
        response_id = recording.response_id
        if response_id is None or len(response_id) > _LONGEST_ID or recording.over_calls:
            return
        calls = [
            MadeCall(call.id, call.id, call.name, call.arguments, is_free_text=call.kind == "custom")
            for call in recording.calls
            if not call.exceeds_limit
        ]
        remembered = remember(request.conversation, calls)
        if not remembered.turns and not remembered.ids:
            return
        with self._lock:
            # If a server gives several responses the same id, it is unknown which one a request continues from.
            known = Remembered() if response_id in self._of_response else remembered
            self._of_response[response_id] = known
            if len(self._of_response) > self._most:
                self._of_response.popitem(last=False)

    def complete(self, conversation: Conversation) -> Conversation:
        """The conversation, with what is remembered of the part that the server holds."""
        with self._lock:
            remembered = self._of_response.get(conversation.previous or "")
        return conversation if remembered is None else conversation._replace(remembered=remembered)
