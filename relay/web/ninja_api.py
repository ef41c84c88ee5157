"""ninja, set up for the gateway: the internal key, JSON in and out, names of operations, and errors as error frames."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, reverse
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI, Router
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.operation import Operation
from ninja.security import APIKeyHeader

from relay.access.auth import has_internal_key
from relay.access.rules import Rule, open_to, rule_of, unauthorized
from relay.conf import conf
from relay.exceptions import (
    ClientMessageInvalid,
    ClientMessageTooLarge,
    Forbidden,
    ParameterInvalid,
    RelayError,
    Unauthorized,
)
from relay.observability import logging_config
from relay.protocol.request_headers import INTERNAL_KEY, is_length
from relay.web import rest_schemas, views
from relay.web.json_io import JsonParser, JsonRenderer, refusal

View = Callable[..., Awaitable[HttpResponseBase]]

logger = logging.getLogger(__name__)

DESCRIPTION: Final = "Sessions, their turns and their logs. docs/protocol.md describes the frames."


class InternalKey(APIKeyHeader):
    """The internal key: the access rule of every operation that names no other."""

    param_name = INTERNAL_KEY

    def authenticate(self, request: HttpRequest, key: str | None) -> bool:
        """Does the request present the key?"""
        return has_internal_key(request)


class GatewayAPI(NinjaAPI):
    """ninja's API with the answers' exact content type, and operations named as clients would name a function."""

    def get_content_type(self) -> str:
        """Return JSON's media type, which has no charset (RFC 8259 §11)."""
        return JsonRenderer.media_type

    def get_operation_url_name(self, operation: Operation, router: Router) -> str:
        """Name the path of an operation, which must have an access rule: the key, or ``callers.by_policy``."""
        if not operation.auth_callbacks:
            raise ImproperlyConfigured(f"the operation {operation.view_func.__name__} has no access rule")
        return super().get_operation_url_name(operation, router)

    def get_root_path(self, path_params: dict[str, Any]) -> str:
        """Return the path of the API, whatever the prefix of the gateway's paths is."""
        return reverse("relay:api:api-root", kwargs=path_params)

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Name an operation after its view: ``send_message`` becomes ``sendMessage``."""
        first, *others = operation.view_func.__name__.split("_")
        return first + "".join(word.title() for word in others)


def make_api() -> GatewayAPI:
    """Make the API, still without operations."""
    api = GatewayAPI(
        title="Agent Gateway",
        version="1",
        description=DESCRIPTION,
        auth=InternalKey(),
        parser=JsonParser(),
        renderer=JsonRenderer(),
        docs_decorator=open_to(Rule.DESCRIPTION),
        urls_namespace="api",
    )
    for error, handler in ERROR_HANDLERS.items():
        api.add_exception_handler(error, handler)
    return api


def json_only_urls(api: NinjaAPI) -> tuple[list[URLPattern | URLResolver], str, str]:
    """Return the API's paths for Django's ``path``; each answers JSON, also to a method that it does not have.

    Settings are read here, not as modules are imported: the page of its description is for ``DEBUG`` only.
    """
    api.docs_url = "/docs" if settings.DEBUG else None
    patterns, app_name, namespace = api.urls
    for pattern in patterns:
        if isinstance(pattern, URLPattern) and iscoroutinefunction(pattern.callback):
            pattern.callback = _json_only(pattern.callback)
        elif isinstance(pattern, URLPattern) and rule_of(pattern.callback) is None:
            pattern.callback = open_to(Rule.KEY)(pattern.callback)
    return list(patterns), app_name, namespace


def _json_only(view: View) -> View:
    """Answer 405 in JSON, refuse an invalid length, name the session in the log, and forbid caching."""

    @csrf_exempt
    @open_to(Rule.OPERATION)
    @wraps(view)
    async def respond(request: HttpRequest, **parameters: object) -> HttpResponseBase:
        if (session_id := parameters.get("session_id")) is not None:
            logging_config.bind(session_id=str(session_id))
        response = await _respond(view, request, **parameters)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return respond


async def _respond(view: View, request: HttpRequest, **parameters: object) -> HttpResponseBase:
    if not is_length(request.META.get("CONTENT_LENGTH")):
        return refusal(ClientMessageInvalid())
    response = await view(request, **parameters)
    return views.method_not_allowed(response["Allow"]) if response.status_code == 405 else response


# Errors.


def _on_refusal(request: HttpRequest, exc: RelayError) -> HttpResponse:
    return refusal(exc)


def _on_unauthorized(request: HttpRequest, exc: AuthenticationError | Unauthorized) -> HttpResponse:
    return unauthorized()


def _on_forbidden(request: HttpRequest, exc: Forbidden) -> HttpResponse:
    return views.permission_denied(request, exc)


def _on_unreadable_body(request: HttpRequest, exc: Exception) -> HttpResponse:
    """Answer what the parser has raised, which ninja wraps into its own ``HttpError``."""
    return refusal(exc.__cause__ if isinstance(exc.__cause__, RelayError) else ClientMessageInvalid())


def _on_long_body(request: HttpRequest, exc: RequestDataTooBig) -> HttpResponse:
    return refusal(ClientMessageTooLarge(conf.max_message_bytes))


def _on_invalid_field(request: HttpRequest, exc: ValidationError) -> HttpResponse:
    """Refuse in words where the caller can be told what a field must be, and as an invalid message otherwise."""
    if any(error["loc"][-1] not in rest_schemas.EXPECTED for error in exc.errors):
        return refusal(ClientMessageInvalid())
    return refusal(ParameterInvalid(_sentences(exc.errors)))


def _sentences(errors: Sequence[Mapping[str, Any]]) -> str:
    """Tell of each field what it must be: pydantic's own words are for programmers. (``Any``: pydantic's values.)"""
    return " ".join(
        f"{error['loc'][-1]} is missing."
        if error["type"] == "missing"
        else f"{error['loc'][-1]} must be {rest_schemas.EXPECTED[error['loc'][-1]]}."
        for error in errors
    )


def _on_suspicious_request(request: HttpRequest, exc: SuspiciousOperation) -> HttpResponse:
    logger.info("request refused: %s", type(exc).__name__)
    return refusal(ParameterInvalid("it has more fields or other characters than it may have."))


def _on_not_found(request: HttpRequest, exc: Http404) -> HttpResponse:
    return views.not_found(request, exc)


def _on_bug(request: HttpRequest, exc: Exception) -> HttpResponse:
    logger.error("request failed: %s %s", request.method, request.path_info, exc_info=exc)
    return refusal(RelayError())


ERROR_HANDLERS: Final[dict[type[Exception], Callable[..., HttpResponse]]] = {
    RelayError: _on_refusal,
    AuthenticationError: _on_unauthorized,
    Unauthorized: _on_unauthorized,
    Forbidden: _on_forbidden,
    HttpError: _on_unreadable_body,
    UnreadablePostError: _on_unreadable_body,
    RequestDataTooBig: _on_long_body,
    ValidationError: _on_invalid_field,
    SuspiciousOperation: _on_suspicious_request,
    Http404: _on_not_found,
    Exception: _on_bug,
}
