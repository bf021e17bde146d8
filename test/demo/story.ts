/** The order of the demo's chapters. */
import { change } from "./chapters/change.ts";
import { judge } from "./chapters/judge.ts";
import { returnEast } from "./chapters/return.ts";
import { installApp, startClusters, startLifeboat } from "./chapters/setup.ts";
import { protect } from "./chapters/protect.ts";
import { countLoss, takeOver } from "./chapters/takeover.ts";
import type { Chapter, Step } from "./screen.ts";
import type { Stage } from "./stage.ts";

export function chapters(stage: Stage): readonly Chapter[] {
  const chapter = (title: string, work: (stage: Stage, step: Step) => Promise<string>): Chapter => ({
    title,
    run: async (step) => work(stage, step),
  });
  return [
    chapter("Two clusters", startClusters),
    chapter("A witness and two agents", startLifeboat),
    chapter("An application at east", installApp),
    chapter("Protecting it", protect),
    chapter("Changing it 20 times a second", change),
    chapter("SIGKILL of all of east", takeOver),
    chapter("What was lost", countLoss),
    chapter("East returns", returnEast),
    chapter("Verdict", judge),
  ];
}
