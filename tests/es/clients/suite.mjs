// What the JavaScript clients of Elasticsearch (8, 9) and OpenSearch get from /es, compared with the records that must be there.
// suite.mjs PACKAGE URL RECORDS: PACKAGE is a folder of a client, RECORDS a file of the expected flights, one JSON object a line.
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { createRequire } from 'node:module'

const [packageFolder, node, records] = process.argv.slice(2)
const require = createRequire(import.meta.url)
const { Client } = require(packageFolder)
const { name, version } = require(packageFolder + '/package.json')
const index = 'flights'
const all = new Map(readFileSync(records, 'utf8').trim().split('\n').map(line => JSON.parse(line)).map(r => [r.flight_id, r]))
const sorted = [...all.keys()].sort()
const opensearch = name.includes('opensearch')
const client = new Client({ node })
let checks = 0

const fail = what => { console.error(`${name} ${version}: ${what}`); process.exit(1) }
const same = (what, got, expected) => {
  checks += 1
  const plain = JSON.parse(JSON.stringify(got ?? null))
  if (!isDeepStrictEqual(plain, expected)) fail(`${what}: got ${JSON.stringify(plain).slice(0, 1500)}, expected ${JSON.stringify(expected).slice(0, 1500)}`)
}
const raises = async (what, status, f) => {
  checks += 1
  try { await f() } catch (e) {
    if (e.statusCode !== status) fail(`${what}: status ${e.statusCode}, expected ${status}: ${e}`)
    return e
  }
  fail(`${what} was no error`)
}
// The clients of Elasticsearch take the members of a body beside the index and answer with the body; OpenSearch's do neither.
const call = async (f, { index, ...body }, more = {}) => {
  const where = index === undefined ? {} : { index }
  return opensearch ? (await f({ ...where, ...more, body })).body : f({ ...where, ...more, ...body })
}
const search = (body, more) => call(p => client.search(p), body, more)
const plain = async promise => opensearch ? (await promise).body : promise
const ids = answer => answer.hits.hits.map(hit => hit._id)
const where = predicate => sorted.filter(key => predicate(all.get(key)))

same('tagline', (await plain(client.info())).tagline, 'You Know, for Search')
same('ping', Boolean(await plain(client.ping())), true)
same('health', (await plain(client.cluster.health())).status, 'green')
same('exists', [await plain(client.indices.exists({ index })), await plain(client.indices.exists({ index: 'nothing' }))], [true, false])
const rows = await plain(client.cat.indices({ format: 'json' }))
same('cat', rows.filter(r => r.index === index).map(r => r['docs.count']), [String(all.size)])
same('mapping', (await plain(client.indices.getMapping({ index })))[index].mappings.properties.carrier.type, 'keyword')
const caps = await plain(opensearch ? client.fieldCaps({ index, fields: 'dist*' }) : client.fieldCaps({ index, fields: 'dist*' }))
same('field_caps', Object.keys(caps.fields), ['distance'])

const first = await search({ index, size: 3, sort: [{ _doc: 'asc' }], track_total_hits: true })
same('total', first.hits.total, { value: all.size, relation: 'eq' })
same('source', first.hits.hits.map(hit => hit._source), sorted.slice(0, 3).map(key => all.get(key)))
const carrier = all.get(sorted[0]).carrier ?? 'UA'
const query = { bool: { must: [{ term: { carrier } }], filter: [{ range: { distance: { gte: 500 } } }], must_not: [{ exists: { field: 'notice' } }] } }
const expected = where(r => r.carrier === carrier && (r.distance ?? 0) >= 500 && r.notice == null)
same('bool', ids(await search({ index, query, size: 1000, sort: ['_doc'] })), expected.slice(0, 1000))
same('count', (await call(p => client.count(p), { index, query })).count, expected.length)
const typed = await search({ index, size: 0, aggs: { carriers: { terms: { field: 'carrier', size: 100 } } } }, { typed_keys: true })
const buckets = Object.fromEntries(typed.aggregations['sterms#carriers'].buckets.map(b => [b.key, b.doc_count]))
const counted = {}
for (const r of all.values()) if (r.carrier != null) counted[r.carrier] = (counted[r.carrier] ?? 0) + 1
same('terms', buckets, counted)

const doc = await plain(client.get({ index, id: sorted[0] }))
same('get', [doc._source, doc.found], [all.get(sorted[0]), true])
same('mget', (await call(p => client.mget(p), { index, ids: [sorted[0], 'no/such id'] })).docs.map(d => d.found), [true, false])
same('exists by id', [await plain(client.exists({ index, id: sorted[0] })), await plain(client.exists({ index, id: 'nothing' }))], [true, false])

let page = await search({ index, size: 200, query: { match_all: {} } }, { scroll: '1m' })
let found = []
while (page.hits.hits.length > 0) {
  found.push(...ids(page))
  page = await call(p => client.scroll(p), { scroll_id: page._scroll_id, scroll: '1m' })
}
same('scroll', found.sort(), sorted)
same('clear', (await call(p => client.clearScroll(p), { scroll_id: page._scroll_id })).succeeded, true)
if (!opensearch) {
  const scanned = []
  for await (const r of client.helpers.scrollDocuments({ index, size: 250, query: { match_all: {} } })) scanned.push(r.flight_id)
  same('scrollDocuments', scanned.sort(), sorted)
  const pit = await client.openPointInTime({ index, keep_alive: '1m' })
  found = []
  for (let after; ;) {
    const page = await client.search({ pit: { id: pit.id, keep_alive: '1m' }, size: 300, sort: [{ distance: 'desc' }], search_after: after })
    if (page.hits.hits.length === 0) break
    found.push(...ids(page))
    after = page.hits.hits.at(-1).sort
  }
  same('search_after', found.sort(), sorted)
  same('close', (await client.closePointInTime({ id: pit.id })).succeeded, true)
  const { responses } = await client.msearch({ searches: [{ index }, { size: 0, query: { term: { carrier } } }, { index: 'nothing' }, {}] })
  same('msearch', [responses[0].hits.total.value, responses[1].status], [where(r => r.carrier === carrier).length, 404])
}

const missing = await raises('a missing record', 404, () => client.get({ index, id: 'nothing' }))
same('found', (missing.body ?? missing.meta.body).found, false)
const unknown = await raises('a query of no kind', 400, () => search({ index, query: { nonsense: {} } }))
same('type', (unknown.body ?? unknown.meta.body).error.type, 'parsing_exception')
await raises('a missing index', 404, () => search({ index: 'nothing' }))
const refused = await raises('a write', 405, () => client.index(opensearch ? { index, body: { a: 1 } } : { index, document: { a: 1 } }))
same('topics', (refused.body ?? refused.meta.body).error.topics, ['aircraft', 'notices', 'operations', 'schedule'].map(t => `${process.env.TOPICS ?? ''}${t}`))
console.log(`${name} ${version}: ${checks} checks passed`)
