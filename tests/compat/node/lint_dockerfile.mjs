// Print what a linter finds in a Dockerfile, as an array of JSON: node lint_dockerfile.mjs FILE
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { validate } = createRequire(import.meta.url)("dockerfile-utils");
const found = validate(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify(found.map((each) => `line ${each.range.start.line + 1}: ${each.message}`)));
