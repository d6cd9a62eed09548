// Loads a report from its changes with a library that is not ours, and prints it as JSON.
//
//     node report.mjs CHANGES...
//
// Each file holds the automerge changes of one entry. The order does not matter to automerge.
import { readFileSync } from "node:fs";
import * as Automerge from "@automerge/automerge";

let doc = Automerge.init();
for (const file of process.argv.slice(2)) {
  doc = Automerge.loadIncremental(doc, new Uint8Array(readFileSync(file)));
}
const missing = Automerge.getMissingDeps(doc, []);
if (missing.length > 0) throw new Error(`changes are missing: ${missing}`);

// Maps that are keyed by id become lists in the order of the ids, as Fieldbook shows them.
const listed = (map) =>
  Object.entries(map ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, value]) => ({ id, ...value }));
const plain = Automerge.toJS(doc);
process.stdout.write(
  JSON.stringify(
    { ...plain, people: listed(plain.people), attachments: listed(plain.attachments) },
    (_, value) => (typeof value === "bigint" ? Number(value) : value),
  ),
);
