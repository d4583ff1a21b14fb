"""What Schemathesis does not know of by itself: how events and several searches are written."""

import json
import zlib

import schemathesis
from schemathesis.transport.requests import REQUESTS_TRANSPORT


@REQUESTS_TRANSPORT.serializer("application/x-ndjson")
def ndjson(ctx, value):
    """A text as it is, or, every other time, as a part of some events that can be accepted. Anything else is no text: JSON."""
    if not isinstance(value, str):
        return {"data": json.dumps(value).encode()}
    digest = zlib.crc32(value.encode("utf-8", "surrogatepass"))
    if digest % 2:
        return {"data": value.encode("utf-8", "surrogatepass")}
    if "_msearch" in ctx.case.operation.path:
        query = {"query": {"match": {"title": value}}, "size": digest % 20, "aggs": {value or "a": {"terms": {"field": "brand"}}}}
        lines = [{"index": "products"}, query, {"index": value, "ignore_unavailable": True}, {}]
        return {"data": "".join(json.dumps(line) + "\n" for line in lines).encode()}
    keys = [f"sku-{digest % 300}", value or "empty"]
    events = [{"sku": key, "v": digest % 1000, "ts": digest, "e": str(digest), "title": value, "page": value} for key in keys]
    return {"data": "".join(json.dumps(event) + "\n" for event in events).encode()}
