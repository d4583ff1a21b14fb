"""What elasticsearch-py (8, 9) and opensearch-py get from /es, compared with the records that must be there.

suite.py KIND URL RECORDS: KIND is elasticsearch or opensearch, RECORDS a file of the expected flights, one JSON object a line.
"""

import collections
import json
import sys
import warnings

KIND, URL, RECORDS = sys.argv[1:4]
INDEX = "flights"
with open(RECORDS) as lines:
    ALL = {r["flight_id"]: r for r in map(json.loads, lines)}
checks = 0


def same(what, got, expected):
    global checks
    checks += 1
    if got != expected:
        sys.exit(f"{KIND}: {what}: got {str(got)[:1500]}, expected {str(expected)[:1500]}")


def raises(what, error, status, f):
    global checks
    checks += 1
    try:
        f()
    except error as e:
        same(f"status of {what}", getattr(e, "status_code", status), status)
        return e
    sys.exit(f"{KIND}: {what} did not raise {error.__name__}")


if KIND == "elasticsearch":
    import elasticsearch
    from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError, helpers

    client = Elasticsearch(URL)

    def search(index=INDEX, **body):
        if "from" in body:
            body["from_"] = body.pop("from")
        if "_source" in body:
            body["source"] = body.pop("_source")
        return client.search(**({"index": index} if index else {}), **body)

    def open_pit():
        return client.open_point_in_time(index=INDEX, keep_alive="1m")["id"]

    def close_pit(pit):
        return client.close_point_in_time(id=pit)["succeeded"]

    def msearch(searches):
        return client.msearch(searches=searches)

    def call(f, **body):
        return f(index=INDEX, **body)

    VERSION = elasticsearch.__versionstr__
else:
    import opensearchpy
    from opensearchpy import NotFoundError, OpenSearch, RequestError as BadRequestError, TransportError as ApiError, helpers

    client = OpenSearch(URL)

    def search(index=INDEX, **body):
        return client.search(**({"index": index} if index else {}), body=body)

    def open_pit():
        return client.create_pit(index=INDEX, params={"keep_alive": "1m"})["pit_id"]

    def close_pit(pit):
        return client.delete_pit(body={"pit_id": [pit]})["pits"][0]["successful"]

    def msearch(searches):
        return client.msearch(body=searches)

    def call(f, **body):
        return f(index=INDEX, body=body)

    VERSION = opensearchpy.__versionstr__


def ids(answer):
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def keys(predicate):
    return sorted(key for key, record in ALL.items() if predicate(record))


# Who is there.
info = client.info()
same("tagline", info["tagline"], "You Know, for Search")
same("ping", client.ping(), True)
same("health", client.cluster.health()["status"], "green")
same("exists", (bool(client.indices.exists(index=INDEX)), bool(client.indices.exists(index="nothing"))), (True, False))
listed = [row for row in client.cat.indices(format="json") if row["index"] == INDEX]
same("cat", [row["docs.count"] for row in listed], [str(len(ALL))])
same("cat as text", "docs.count" in str(client.cat.indices(index=INDEX, v=True)), True)
same("resolve", [i["name"] for i in client.indices.resolve_index(name="fl*")["indices"]], [INDEX])

# What it is.
mapping = client.indices.get_mapping(index=INDEX)[INDEX]["mappings"]["properties"]
same("mapping", [mapping[f]["type"] for f in ("carrier", "notice", "distance", "temp", "sched_dep", "diverted")],
     ["keyword", "text", "long", "double", "date", "boolean"])
caps = client.field_caps(index=INDEX, fields="carrier,dist*")["fields"]
same("field_caps", (sorted(caps), caps["carrier"]["keyword"]["aggregatable"]), (["carrier", "distance"], True))

# Everything.
everything = search(size=3, sort=[{"_doc": "asc"}], track_total_hits=True)
same("total", everything["hits"]["total"], {"value": len(ALL), "relation": "eq"})
same("first by key", ids(everything), sorted(ALL)[:3])
same("shards", everything["_shards"]["failed"], 0)
same("source", everything["hits"]["hits"][0]["_source"], ALL[sorted(ALL)[0]])
same("count", client.count(index=INDEX)["count"], len(ALL))

# Queries.
busiest, n = collections.Counter(r["carrier"] for r in ALL.values() if r.get("carrier")).most_common(1)[0]
by_carrier = {"term": {"carrier": busiest}}
same("term", search(query=by_carrier, size=0)["hits"]["total"]["value"], n)
same("term of the alias", call(client.count, query={"term": {"carrier.keyword": {"value": busiest}}})["count"], n)
far = keys(lambda r: r.get("carrier") == busiest and (r.get("distance") or 0) >= 1000 and r.get("status") != "cancelled")
query = {"bool": {"must": [by_carrier], "filter": {"range": {"distance": {"gte": 1000}}},
                  "must_not": [{"term": {"status": "cancelled"}}]}}
same("bool", ids(search(query=query, size=1000, sort=["_doc"])), far[:1000])
either = {"bool": {"should": [by_carrier, {"prefix": {"dest": "S"}}, {"exists": {"field": "notice"}}], "minimum_should_match": 2}}
two = keys(lambda r: (r.get("carrier") == busiest) + str(r.get("dest") or "").startswith("S") + (r.get("notice") is not None) >= 2)
same("minimum_should_match", ids(search(query=either, size=1000, sort="_doc")), two[:1000])
some = sorted(ALL)[5:8]
same("ids", ids(search(query={"ids": {"values": some}}, sort="_doc")), some)
same("query_string", search(query={"query_string": {"query": f"carrier:{busiest} AND distance:>=1000"}}, size=0)["hits"]["total"]["value"],
     len(keys(lambda r: r.get("carrier") == busiest and (r.get("distance") or 0) >= 1000)))
same("wildcard", search(query={"wildcard": {"dest": {"value": "?A*"}}}, size=0)["hits"]["total"]["value"],
     len(keys(lambda r: str(r.get("dest") or "")[1:2] == "A")))
same("regexp", search(query={"regexp": {"dest": "[AB].+"}}, size=0)["hits"]["total"]["value"],
     len(keys(lambda r: str(r.get("dest") or "")[:1] in ("A", "B"))))

# Sort, source, fields, highlights.
by_distance = sorted((r for r in ALL.values() if r.get("distance") is not None), key=lambda r: (-r["distance"], r["flight_id"]))
top = search(sort=[{"distance": {"order": "desc", "missing": "_last"}}, {"_id": "asc"}], size=5, _source=["distance", "flight_id"])
same("sorted", ids(top), [r["flight_id"] for r in by_distance[:5]])
same("sort values", [hit["sort"][0] for hit in top["hits"]["hits"]], [r["distance"] for r in by_distance[:5]])
same("filtered source", sorted(top["hits"]["hits"][0]["_source"]), ["distance", "flight_id"])
same("window", ids(search(sort=[{"distance": "desc"}, "_doc"], size=3, **{"from": 2})), [r["flight_id"] for r in by_distance[2:5]])
named = next(r for r in ALL.values() if r.get("dest_name"))
word = named["dest_name"].split()[0]
hit = search(query={"match": {"dest_name": word}}, size=1, highlight={"fields": {"dest_name": {}}, "pre_tags": ["<b>"], "post_tags": ["</b>"]},
             _source=False, fields=["dest_name", {"field": "sched_dep", "format": "epoch_millis"}])["hits"]["hits"][0]
same("highlight", f"<b>{word}</b>" in hit["highlight"]["dest_name"][0], True)
same("fields", ("_source" in hit, hit["fields"]["dest_name"], hit["fields"]["sched_dep"][0].isdigit()),
     (False, [ALL[hit["_id"]]["dest_name"]], True))

# Aggregations.
aggs = {"carriers": {"terms": {"field": "carrier", "size": 100}, "aggs": {"distance": {"avg": {"field": "distance"}}}},
        "longest": {"max": {"field": "distance"}},
        "late": {"filters": {"filters": {"late": {"range": {"dep_delay": {"gt": 15}}}, "rest": {"match_all": {}}}}}}
result = search(size=0, aggs=aggs)["aggregations"]
same("terms", {b["key"]: b["doc_count"] for b in result["carriers"]["buckets"]},
     dict(collections.Counter(r["carrier"] for r in ALL.values() if r.get("carrier"))))
for bucket in result["carriers"]["buckets"]:
    of = [r["distance"] for r in ALL.values() if r.get("carrier") == bucket["key"] and r.get("distance") is not None]
    same("average", round(bucket["distance"]["value"], 6), round(sum(of) / len(of), 6))
same("max", result["longest"]["value"], max(r["distance"] for r in ALL.values() if r.get("distance") is not None))
same("filters", {name: b["doc_count"] for name, b in result["late"]["buckets"].items()},
     {"late": len(keys(lambda r: (r.get("dep_delay") or 0) > 15)), "rest": len(ALL)})
days = search(size=0, aggs={"days": {"date_histogram": {"field": "sched_dep", "fixed_interval": "1d", "min_doc_count": 1}}})
same("date_histogram", {b["key_as_string"][:10]: b["doc_count"] for b in days["aggregations"]["days"]["buckets"]},
     dict(collections.Counter(r["sched_dep"][:10] for r in ALL.values() if r.get("sched_dep"))))

# By id.
key = sorted(ALL)[0]
doc = client.get(index=INDEX, id=key)
same("get", (doc["_source"], doc["found"], doc["_primary_term"]), (ALL[key], True, 1))
same("version", isinstance(doc["_version"], int) and isinstance(doc["_seq_no"], int), True)
same("get_source", dict(client.get_source(index=INDEX, id=key)), ALL[key])
same("exists by id", (bool(client.exists(index=INDEX, id=key)), bool(client.exists(index=INDEX, id="no/such id"))), (True, False))
many = call(client.mget, ids=[key, "nothing"])["docs"]
same("mget", [(d["_id"], d["found"]) for d in many], [(key, True), ("nothing", False)])

# Pages.
scanned = [hit["_id"] for hit in helpers.scan(client, index=INDEX, query={"query": by_carrier}, size=100)]
same("scan", sorted(scanned), keys(lambda r: r.get("carrier") == busiest))
same("scan in order", [hit["_source"] for hit in helpers.scan(client, index=INDEX, size=300, preserve_order=True,
     query={"sort": [{"flight_no": "asc"}, "_doc"]})],
     sorted(ALL.values(), key=lambda r: (r.get("flight_no") is None, r.get("flight_no"), r["flight_id"])))
page = client.search(index=INDEX, scroll="1m", size=200)
found = ids(page)
while page["hits"]["hits"]:
    page = client.scroll(scroll_id=page["_scroll_id"], scroll="1m")
    found += ids(page)
same("scroll", sorted(found), sorted(ALL))
same("clear_scroll", client.clear_scroll(scroll_id=page["_scroll_id"])["succeeded"], True)
pit = open_pit()
found, after = [], {}
while True:
    page = search(index=None, pit={"id": pit, "keep_alive": "1m"}, size=150, sort=[{"carrier": "asc"}], **after)
    if not page["hits"]["hits"]:
        break
    found += ids(page)
    pit, after = page["pit_id"], {"search_after": page["hits"]["hits"][-1]["sort"]}
same("search_after", found, [r["flight_id"] for r in sorted(ALL.values(), key=lambda r: (r.get("carrier") is None, r.get("carrier"), r["flight_id"]))])
same("close", close_pit(pit), True)

# Several at a time.
answers = msearch([{"index": INDEX}, {"query": by_carrier, "size": 0}, {"index": "nothing"}, {}, {"index": INDEX}, {"size": 1}])["responses"]
same("msearch", (answers[0]["hits"]["total"]["value"], answers[1]["status"], answers[2]["status"]), (n, 404, 200))

# Errors and warnings.
raises("a missing record", NotFoundError, 404, lambda: client.get(index=INDEX, id="nothing"))
missing = raises("a missing index", NotFoundError, 404, lambda: search(index="nothing"))
same("error", "index_not_found_exception" in str(missing), True)
raises("a query of no kind", BadRequestError, 400, lambda: search(query={"nonsense": {}}))
raises("too large a window", BadRequestError, 400, lambda: search(size=100_000))
raises("a sort by nothing", BadRequestError, 400, lambda: search(sort=[{"nothing": "asc"}]))
document = {"document" if KIND == "elasticsearch" else "body": {"a": 1}}
refused = raises("a write", ApiError, 405, lambda: client.index(index=INDEX, id="x", **document))
same("where writes go", "schedule" in str(getattr(refused, "body", refused.info if KIND == "opensearch" else "")), True)
raises("a bulk", ApiError, 405, lambda: client.bulk(**{"operations" if KIND == "elasticsearch" else "body": [{"index": {"_index": INDEX}}, {"a": 1}]}))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    search(size=0, query={"match": {"notice": {"query": "x", "analyzer": "y"}}})
if KIND == "elasticsearch":
    same("warnings", any("analyzer" in str(w.message) for w in said), True)
print(f"{KIND}-py {VERSION}: {checks} checks passed")
