/** The story on one screen: steps that change in place on a terminal, plain lines elsewhere. */
import { Listr } from "listr2";
import pc from "picocolors";

/** A line of a log every five seconds says as much as a terminal's ten a second. */
const plainLiveEveryMs = 5_000;

export interface Step {
  /** What is going on right now; replaced by the next. */
  live(text: string): void;
  /** Something that stays on the screen beneath the step. */
  fact(text: string): void;
}

export interface Chapter {
  readonly title: string;
  /** Returns what the title says when it is done. */
  readonly run: (step: Step) => Promise<string>;
}

/** Runs the chapters one after the other and shows them. Rejects with the first error. */
export async function tell(chapters: readonly Chapter[], terminal: boolean): Promise<void> {
  if (terminal) await tellOnTerminal(chapters);
  else for (const chapter of chapters) await tellPlainly(chapter);
}

async function tellOnTerminal(chapters: readonly Chapter[]): Promise<void> {
  const tasks = new Listr(
    chapters.map(({ title, run }) => ({
      title,
      task: async (_: unknown, task: { title: string; output: string }) => {
        const done = await run({
          live: (text) => (task.title = `${title} ${pc.dim(text)}`),
          fact: (text) => (task.output = text),
        });
        task.title = done;
      },
      rendererOptions: { persistentOutput: true, outputBar: Infinity },
    })),
    { registerSignalListeners: false, rendererOptions: { collapseErrors: false, showErrorMessage: false } },
  );
  await tasks.run();
}

async function tellPlainly({ title, run }: Chapter): Promise<void> {
  let saidAtMs = performance.now();
  let last = "";
  const print = (text: string): void => console.log(text);
  print(`… ${title}`);
  const done = await run({
    live: (text) => {
      if (text === last || performance.now() - saidAtMs < plainLiveEveryMs) return;
      last = text;
      saidAtMs = performance.now();
      print(`    ${text}`);
    },
    fact: (text) => print(`    ${text}`),
  });
  print(`✔ ${done}`);
}
