/** Whether somebody looks at the demo on a terminal, and the colours that go with that: decided here and nowhere else. */
import { isatty } from "node:tty";
import { createColors } from "picocolors";

/** File descriptor of stdout. */
const stdout = 1;

export const onTerminal = isatty(stdout);

/** Left to itself the library colours a pipe too, where CI or FORCE_COLOR is set. */
export const colours = createColors(onTerminal && (process.env["NO_COLOR"] ?? "") === "");
