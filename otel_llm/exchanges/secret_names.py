"""Which names say that their value is secret, and which values are secret in no case.  Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

SHORTEST = 8
"""Shorter values open nothing, and are parts of ordinary words."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The words of snake_case, kebab-case, camelCase and HTTPHeaders.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = _words(
    """
    assertion auth authentication authorization bearer cookie cookies cred creds credential credentials csrf dpop dsn
    hmac jwt key keys kubeconfig mfa mnemonic otp pass passcode passphrase passwd password passwords pat pem pin psk
    pwd sas secret secrets session sid sig sign signature token tokens totp xsrf
    """
)
# Names are also written without anything between their words.
_SECRET_PARTS = re.compile(
    r"secret|dpop|passw|passphrase|seedphrase|credential|authoriz|bearer|cookie|signature|assertion|session|conn(?:ection)?str"
    r"|(?:token|auth|(?<!mon)(?<!don)(?<!tur)(?<!hoc)(?<!joc)key|pwd)s?$"
)
# What such a name ends with if it tells about a secret, and is none itself.
_ABOUT = _words(
    """
    alg algorithm audience budget column count date description duration enabled end endpoint expires expiry field
    file format kind label length limit method mode name names path policy provider region required role scheme scope
    scopes size start state status style summary template timeout title ttl type types uri url usage version
    """
)
# Keys and tokens that open nothing.
_HARMLESS_KEYS = _words(
    """
    bos cache cls composite dedup eos foreign idempotency image limit lookup mask max min num pad partition primary
    public ratelimit
    remaining reset routing sep sort special stop total unique unk websocket
    """
)
# In a query only, where a word of a sentence cannot stand.
_SECRET_PARAMETERS = frozenset({"ak", "code", "hdnea", "hdntl", "hdnts", "k", "sk", "t"})
# Services that take whoever knows the path for their user.
_SECRET_PATHS = re.compile(
    r"(?:hooks\.slack\.com/(?:services|workflows|triggers)|(?:\w+\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks"
    r"|[\w.\-]+\.webhook\.office\.com|hooks\.zapier\.com|maker\.ifttt\.com)(?P<path>/[^?#]*)"
    r"|api\.telegram\.org/bot(?P<bot>[^/?#]+)",
    re.IGNORECASE,
)
_JWT = re.compile(r"eyJ[\w\-]{8,}\.[\w\-]+\.[\w\-]*")
_ORGANISATIONS = _words(
    """
    account accounts billing customer org organisation organization project subscription team tenant workspace
    """
)

_PLACEHOLDER_WORDS = _words(
    """
    a abc abc123 ai an anthropic any anything api apikey auth azure bearer cerebras changeme cpp default dev
    dummy empty enter example fake false foo foobar for gemini google gpt gpt4all groq here hf huggingface
    insert is it key koboldcpp litellm llama llamacpp llamafile lm lmstudio local localai localhost me mistral
    mlx mock model my n na needed nil no noauth nokey none nope not nothing notneeded null ollama ooba open
    openai openrouter optional password placeholder put random replace required sample sglang sk some something
    studio tabbyapi test testing textgen tgi the this token true unknown unneeded unset unused use value vllm
    whatever with xinference you your
    """
)
# What services begin their keys with.
_KEY_PREFIX = re.compile(
    r"(?:sk|pk|rk|gsk|csk|hf|xai|nvapi|r8|pplx|fw|tgp|glpat|npm|xox[a-z]|gh[opsur]|github_pat|AKIA|ASIA|AIza|eyJ)[-_]?"
)
_LOCAL_HOSTS = frozenset({"localhost", "host.docker.internal"})
_RUN = re.compile(r"\w{16,}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether the value of a field, header or parameter of this name is secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT or not _HARMLESS_KEYS.isdisjoint(words):
        return False
    return not _SECRET_WORDS.isdisjoint(words) or _SECRET_PARTS.search("".join(words)) is not None


def is_secret_parameter(name: str) -> bool:
    """Whether the value of a parameter of this name is secret in the query of a URL."""
    return name.lower() in _SECRET_PARAMETERS or is_secret_name(name)


def names_an_organisation(header: str) -> bool:
    """Whether a header of this name tells who pays."""
    return not _ORGANISATIONS.isdisjoint(word.lower() for word in _WORD.findall(header))


def tells_about(name: str) -> bool:
    """Whether a field beside a secret only tells about it: its type, its issuer."""
    words = [word.lower() for word in _WORD.findall(name)]
    return bool(words) and words[-1] in _ABOUT


def is_placeholder(value: str) -> bool:
    """Whether a value opens nothing: it is short, or made of the words that people write where a key is expected."""
    if len(value) < SHORTEST:
        return True
    words = [word for word in re.split(r"[^a-z0-9]+", value.lower()) if word]
    return all(word in _PLACEHOLDER_WORDS or len(set(word)) == 1 for word in words)


def is_plain(value: str) -> bool:
    """Whether a value looks like words, and not like the key of a service."""
    return not any(map(str.isdigit, value)) and _KEY_PREFIX.match(value) is None


def is_known_key(value: str) -> bool:
    """Whether a value has the form of a key or token of a service, whatever its name is."""
    return _JWT.fullmatch(value) is not None or (_KEY_PREFIX.match(value) is not None and looks_generated(value))


def secret_path(url: str) -> str:
    """The part of a URL's path that opens its service, empty if none does. `url`: from the host on."""
    found = _SECRET_PATHS.match(url)
    return "" if found is None else (found["path"] or found["bot"] or "").strip("/")


def looks_generated(text: str) -> bool:
    """Whether a text looks like a token wherever it stands."""
    if _UUID.fullmatch(text):
        return True
    return any(
        any(map(str.isdigit, run)) and any(map(str.isalpha, run))
        for run in (one.group() for one in _RUN.finditer(text))
    )


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host in _LOCAL_HOSTS or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
