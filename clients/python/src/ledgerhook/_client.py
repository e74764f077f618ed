from __future__ import annotations

import uuid
from typing import Any, Mapping, Optional, Sequence
from urllib.parse import quote

from ._pages import Pages, Place
from ._transport import Transport

#: An object of the API, with the names that docs/api.md has.
Json = dict[str, Any]

_PIPELINES = "/api/admin/webhooks/pipelines"
_LOGS = "/api/admin/webhooks/logs"

#: Where the profiles have their webhooks; all other tenants have them at `/api/webhooks`.
_WEBHOOKS = {"attribution": "/webhooks", "apexmediation": "/v1/webhooks", "social": "/api/v1/webhooks"}


class Client:
    """The API of one tenant.

    >>> client = Client("https://hooks.example.com", os.environ["LEDGERHOOK_KEY"])  # doctest: +SKIP

    Bodies and answers have the names of the API (docs/api.md), untouched. Lists are `Pages`; their filters are
    keyword arguments (`from_` for `from`). Whatever is refused is raised, as an `ApiError`.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        profile: Optional[str] = None,
        tenant: Optional[str] = None,
        timeout: float = 30,
        retries: int = 2,
        longest_wait: float = 30,
    ) -> None:
        """`profile` is the tenant's: `attribution`, `apexmediation` and `social` have their webhooks at paths of their
        own. `tenant` says, to the operator's key, whose tenant is meant. `timeout`: seconds that one attempt may wait
        for the server. `retries`: how often a request is sent again if that is safe; `longest_wait`: seconds of
        `Retry-After` that are still waited for.
        """
        self._transport = Transport(url, key, tenant, timeout, retries, longest_wait)
        self._webhooks = _WEBHOOKS.get(profile or "", "/api/webhooks")

    # Webhooks: one URL, some events.

    def create_webhook(self, webhook: Mapping[str, Any], *, idempotency_key: Optional[str] = None) -> Json:
        return self._create(self._webhooks, webhook, idempotency_key)

    def list_webhooks(self, **query: Any) -> Pages[Json]:
        return self._list(self._webhooks, query)

    def get_webhook(self, webhook_id: str) -> Json:
        return self._get(self._webhooks + _path("/{}", webhook_id))

    def update_webhook(self, webhook_id: str, changes: Mapping[str, Any], *, if_version: Optional[int] = None) -> Json:
        """What is absent stays, `None` clears."""
        return self._change("PUT", self._webhooks + _path("/{}", webhook_id), changes, if_version)

    def delete_webhook(self, webhook_id: str, *, if_version: Optional[int] = None) -> Json:
        return self._change("DELETE", self._webhooks + _path("/{}", webhook_id), None, if_version)

    def test_webhook(self, webhook_id: str, test: Optional[Mapping[str, Any]] = None) -> Json:
        """Sends a test event and waits for what the receiver says."""
        return self._post(self._webhooks + _path("/{}/test", webhook_id), test)

    def webhook_logs(self, webhook_id: str, **query: Any) -> Pages[Json]:
        return self._list(self._webhooks + _path("/{}/logs", webhook_id), query)

    def reveal_secret(self, webhook_id: str) -> Json:
        """The signing secret in clear; the audit records that it was shown."""
        return self._get(_path("/api/webhooks/{}/secret", webhook_id))

    def rotate_secret(self, webhook_id: str, rotation: Optional[Mapping[str, Any]] = None) -> Json:
        return self._post(_path("/api/webhooks/{}/secret/rotate", webhook_id), rotation or {})

    # Events in. Without an `id` of its own, an event gets one that is made of the idempotency key, so that sending
    # it again cannot deliver it twice.

    def send_event(self, event: Mapping[str, Any], *, idempotency_key: Optional[str] = None) -> Json:
        return self._create("/api/events", event, idempotency_key)

    def send_events(self, events: Sequence[Mapping[str, Any]], *, idempotency_key: Optional[str] = None) -> Json:
        """Up to 1,000 events; each has its own outcome, in order."""
        return self._create("/api/events/batch", {"events": list(events)}, idempotency_key)

    def list_events(self, **query: Any) -> Pages[Json]:
        return self._list("/api/events", query)

    def get_event(self, event_id: str) -> Json:
        return self._get(_path("/api/events/{}", event_id))

    # Deliveries, dead letters, lanes.

    def list_deliveries(self, **query: Any) -> Pages[Json]:
        return self._list("/api/deliveries", query)

    def get_delivery(self, delivery_id: str) -> Json:
        """With every attempt."""
        return self._get(_path("/api/deliveries/{}", delivery_id))

    def cancel_delivery(self, delivery_id: str) -> Json:
        return self._post(_path("/api/deliveries/{}/cancel", delivery_id))

    def retry_delivery(self, delivery_id: str) -> Json:
        return self._post(_path("/api/deliveries/{}/retry", delivery_id))

    def list_executions(self, **query: Any) -> Pages[Json]:
        return self._list(f"{_LOGS}/recent", query, "logs")

    def list_failures(self, **query: Any) -> Pages[Json]:
        return self._list(f"{_LOGS}/failures", query, "logs")

    def list_dead_letters(self, **query: Any) -> Pages[Json]:
        return self._list(f"{_LOGS}/dlq", query)

    def retry_dead_letter(self, dead_letter_id: str) -> Json:
        return self._post(_LOGS + _path("/dlq/{}/retry", dead_letter_id))

    def delete_dead_letter(self, dead_letter_id: str) -> Json:
        return self._change("DELETE", _LOGS + _path("/dlq/{}", dead_letter_id))

    def list_lanes(self, pipeline_id: str, **query: Any) -> Pages[Json]:
        return self._list(_path("/api/pipelines/{}/lanes", pipeline_id), query)

    def skip_lane(self, pipeline_id: str, resource: str) -> Json:
        """Passes over the dead letter that a halted lane waits for."""
        return self._post(_path("/api/pipelines/{}/lanes/{}/skip", pipeline_id, resource))

    def resume_lane(self, pipeline_id: str, resource: str) -> Json:
        return self._post(_path("/api/pipelines/{}/lanes/{}/resume", pipeline_id, resource))

    # Pipelines: several steps, in order.

    def create_pipeline(self, pipeline: Mapping[str, Any], *, idempotency_key: Optional[str] = None) -> Json:
        return self._create(_PIPELINES, pipeline, idempotency_key)

    def list_pipelines(self, **query: Any) -> Pages[Json]:
        return self._list(_PIPELINES, query, "pipelines")

    def get_pipeline(self, pipeline_id: str) -> Json:
        return self._get(_PIPELINES + _path("/{}", pipeline_id))

    def update_pipeline(
        self, pipeline_id: str, changes: Mapping[str, Any], *, if_version: Optional[int] = None
    ) -> Json:
        return self._change("PUT", _PIPELINES + _path("/{}", pipeline_id), changes, if_version)

    def delete_pipeline(self, pipeline_id: str, *, if_version: Optional[int] = None) -> Json:
        return self._change("DELETE", _PIPELINES + _path("/{}", pipeline_id), None, if_version)

    def test_pipeline(self, pipeline_id: str, test: Optional[Mapping[str, Any]] = None) -> Json:
        return self._post(_path("/api/admin/webhooks/test/pipeline/{}", pipeline_id), test or {})

    def test_step(self, call: Mapping[str, Any]) -> Json:
        return self._post("/api/admin/webhooks/test/step", call)

    def reveal_step_secret(self, pipeline_id: str, step_id: str) -> Json:
        return self._get(_path("/api/pipelines/{}/steps/{}/secret", pipeline_id, step_id))

    def rotate_step_secret(self, pipeline_id: str, step_id: str, rotation: Optional[Mapping[str, Any]] = None) -> Json:
        return self._post(_path("/api/pipelines/{}/steps/{}/secret/rotate", pipeline_id, step_id), rotation or {})

    def stats(self) -> Json:
        return self._get("/api/admin/webhooks/stats")

    # Tenants and keys.

    def create_tenant(self, tenant: Mapping[str, Any], *, idempotency_key: Optional[str] = None) -> Json:
        return self._create("/api/tenants", tenant, idempotency_key)

    def list_tenants(self, **query: Any) -> Pages[Json]:
        return self._list("/api/tenants", query)

    def get_tenant(self, tenant_id: str) -> Json:
        return self._get(_path("/api/tenants/{}", tenant_id))

    def update_tenant(self, tenant_id: str, changes: Mapping[str, Any]) -> Json:
        return self._change("PUT", _path("/api/tenants/{}", tenant_id), changes)

    def delete_tenant(self, tenant_id: str) -> Json:
        return self._change("DELETE", _path("/api/tenants/{}", tenant_id))

    def create_key(self, tenant_id: str, key: Mapping[str, Any], *, idempotency_key: Optional[str] = None) -> Json:
        return self._create(_path("/api/tenants/{}/keys", tenant_id), key, idempotency_key)

    def list_keys(self, tenant_id: str, **query: Any) -> Pages[Json]:
        return self._list(_path("/api/tenants/{}/keys", tenant_id), query)

    def delete_key(self, tenant_id: str, key_id: str) -> Json:
        return self._change("DELETE", _path("/api/tenants/{}/keys/{}", tenant_id, key_id))

    def signing_keys(self, tenant_id: str) -> Json:
        """The public keys of `v1a` signatures, and where everybody finds them."""
        return self._get(_path("/api/tenants/{}/signing-keys", tenant_id))

    def rotate_signing_keys(self, tenant_id: str, rotation: Optional[Mapping[str, Any]] = None) -> Json:
        return self._post(_path("/api/tenants/{}/signing-keys/rotate", tenant_id), rotation or {})

    def egress_ips(self) -> Json:
        """Where deliveries come from, and what that is going to change to."""
        return self._get("/api/egress-ips")

    # What is, and the proof of it.

    def audit(self, **query: Any) -> Pages[Json]:
        return self._list("/api/audit", query)

    def state(self) -> Json:
        return self._get("/api/state")

    def log(self, **query: Any) -> Pages[Json]:
        return self._list("/api/log", query)

    def verify_log(self) -> Json:
        return self._get("/api/log/verify")

    def _get(self, path: str) -> Json:
        return self._transport.send("GET", path)  # type: ignore[no-any-return]

    def _post(self, path: str, body: Optional[Mapping[str, Any]] = None) -> Json:
        return self._transport.send("POST", path, body=body)  # type: ignore[no-any-return]

    def _create(self, path: str, body: Any, key: Optional[str]) -> Json:
        """With its key the same request does nothing twice, so that it may be repeated."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        answer: Json = self._transport.send("POST", path, body=body, headers=headers, repeatable=True)
        return answer

    def _change(self, method: str, path: str, body: Any = None, if_version: Optional[int] = None) -> Json:
        headers = {} if if_version is None else {"If-Match": f'"{if_version}"'}
        return self._transport.send(method, path, body=body, headers=headers)  # type: ignore[no-any-return]

    def _list(self, path: str, query: Json, items: str = "items") -> Pages[Json]:
        """Lists go on with a cursor, or by numbered pages."""
        filters = {name.rstrip("_"): value for name, value in query.items()}

        def load(place: Place) -> tuple[list[Json], Optional[Place]]:
            data = self._transport.send("GET", path, query={**filters, **place})
            numbers = data.get("pagination")
            if data.get("next"):
                return data[items], {"cursor": data["next"]}
            if numbers and numbers["page"] * numbers["limit"] < numbers["total"]:
                return data[items], {"page": numbers["page"] + 1}
            return data[items], None

        return Pages(load)


def _path(template: str, *ids: str) -> str:
    """A path whose ids are escaped; `.` and `..` are no ids, and would lead elsewhere."""
    for one in ids:
        if not isinstance(one, str) or one in ("", ".", ".."):
            raise ValueError(f"{one!r} is no id")
    return template.format(*[quote(one, safe="") for one in ids])
