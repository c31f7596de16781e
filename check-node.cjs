// Runs before the service, with the Node that npm finds: an old one knows neither its options nor TypeScript.
const wanted = Number.parseInt(require("./package.json").engines.node.replace(/\D+/, ""), 10);
if (Number.parseInt(process.versions.node, 10) < wanted) {
  process.stderr.write(
    `This is Node ${process.version}, and the service runs on Node ${wanted} or newer: install one, or let \`npm ci --include=optional\` bring it along\n`,
  );
  process.exitCode = 1;
}
