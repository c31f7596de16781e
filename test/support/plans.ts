import type pg from "pg";

/** How PostgreSQL ran a statement: what `explain (analyze, buffers)` tells of it, as far as it depends on no clock. */
export interface Plan {
  /** Whether it was planned without its parameters. */
  readonly isGeneric: boolean;
  /** The scans of the plan, each with the index or the table that it reads. */
  readonly scans: readonly string[];
  /** How many partitions were not asked, by what the executor knows of the parameters. */
  readonly pruned: number;
  /** How many pages it touched. */
  readonly pages: number;
}

interface Node {
  readonly "Node Type": string;
  readonly "Index Name"?: string;
  readonly "Relation Name"?: string;
  readonly "Subplans Removed"?: number;
  readonly "Shared Hit Blocks": number;
  readonly "Shared Read Blocks": number;
  readonly Plans?: readonly Node[];
}

const explain = "explain (analyze, buffers, timing off, format json)";

/** Explains a prepared statement of this connection. @param values texts. */
export async function explainPrepared(
  client: pg.ClientBase,
  name: string,
  values: readonly unknown[],
): Promise<Plan> {
  const texts = values.map((value) => client.escapeLiteral(String(value)));
  const { rows } = await client.query(
    `${explain} execute ${name}${texts.length > 0 ? `(${texts.join()})` : ""}`,
  );
  return toPlan(rows);
}

/** Explains a statement as PostgreSQL plans it when it is unnamed. */
export async function explainUnnamed(
  client: pg.ClientBase,
  sql: string,
  values: readonly unknown[],
): Promise<Plan> {
  const { rows } = await client.query(`${explain} ${sql}`, [...values]);
  return toPlan(rows);
}

function toPlan(rows: readonly { "QUERY PLAN": readonly { Plan: Node }[] }[]): Plan {
  const root = rows[0]?.["QUERY PLAN"][0]?.Plan;
  if (root === undefined) throw new Error("the statement was not explained");
  const nodes = flatten(root);
  return {
    isGeneric: JSON.stringify(root).includes("$1"),
    scans: nodes.flatMap(scanOf),
    pruned: nodes.reduce((sum, node) => sum + (node["Subplans Removed"] ?? 0), 0),
    pages: root["Shared Hit Blocks"] + root["Shared Read Blocks"],
  };
}

function flatten(node: Node): Node[] {
  return [node, ...(node.Plans ?? []).flatMap(flatten)];
}

/** A Bitmap Heap Scan only fetches what the Bitmap Index Scan beneath it has found. */
function scanOf(node: Node): string[] {
  const type = node["Node Type"];
  if (!type.endsWith(" Scan") || type === "Bitmap Heap Scan") return [];
  return [`${type} on ${node["Index Name"] ?? node["Relation Name"]}`];
}
