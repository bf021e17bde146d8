/** The story on one screen: steps that change in place on a terminal, plain lines elsewhere. */
import { Listr } from "listr2";
import { messageOf } from "../../src/errors.ts";
import { colours } from "./colours.ts";

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

export interface Story {
  readonly chapters: readonly Chapter[];
  /** Told last, whatever became of the chapters; what it returns is the last line. */
  readonly ending: Chapter;
}

export interface Telling {
  readonly terminal: boolean;
  readonly print: (line: string) => void;
  /** Told of the chapter that failed, or of the ending. */
  readonly failed: (title: string, error: unknown) => void;
  readonly signal: AbortSignal;
}

/**
 * Runs the chapters one after the other up to the first that fails, then the ending, and shows them. Rejects only when
 * `signal` aborts.
 */
export async function tell({ chapters, ending }: Story, telling: Telling): Promise<void> {
  if (telling.terminal) await tellOnTerminal(chapters, telling);
  else await tellPlainly(chapters, telling);
  telling.signal.throwIfAborted();
  await tellEnding(ending, telling);
}

async function tellOnTerminal(chapters: readonly Chapter[], { failed, signal }: Telling): Promise<void> {
  const tasks = new Listr(
    chapters.map(({ title, run }) => ({
      title,
      task: async (_: unknown, task: { title: string; output: string }) => {
        try {
          const done = await run({
            live: (text) => (task.title = `${title} ${colours.dim(text)}`),
            fact: (text) => (task.output = text),
          });
          task.title = done;
        } catch (error) {
          signal.throwIfAborted();
          task.title = `${title}: ${messageOf(error)}`;
          failed(title, error);
          throw error;
        }
      },
      rendererOptions: { persistentOutput: true, outputBar: Infinity },
    })),
    { registerSignalListeners: false, rendererOptions: { collapseErrors: false, showErrorMessage: false } },
  );
  // What went wrong was told already.
  await tasks.run().catch(() => signal.throwIfAborted());
}

async function tellPlainly(chapters: readonly Chapter[], { print, failed, signal }: Telling): Promise<void> {
  for (const { title, run } of chapters) {
    print(`… ${title}`);
    try {
      print(`✔ ${await run(plainStep(print))}`);
    } catch (error) {
      signal.throwIfAborted();
      print(`✘ ${title}: ${messageOf(error)}`);
      failed(title, error);
      return;
    }
  }
}

/** A list may be longer than any screen: never in place. */
async function tellEnding({ title, run }: Chapter, { print, failed, signal }: Telling): Promise<void> {
  try {
    print(await run(plainStep(print)));
  } catch (error) {
    signal.throwIfAborted();
    print(`✘ ${title}: ${messageOf(error)}`);
    failed(title, error);
  }
}

function plainStep(print: Telling["print"]): Step {
  let saidAtMs = performance.now();
  let last = "";
  return {
    live: (text) => {
      if (text === last || performance.now() - saidAtMs < plainLiveEveryMs) return;
      last = text;
      saidAtMs = performance.now();
      print(`    ${text}`);
    },
    fact: (text) => print(`    ${text}`),
  };
}
