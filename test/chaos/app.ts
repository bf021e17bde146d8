/** What runs in the chaos runs: pods that write, about every 20 ms, that they run. */
import type { KubeObject } from "../../src/objects/object.ts";
import { busyboxImage } from "../bed/images.ts";
import { beatLoop } from "../demo/beats.ts";

export const namespace = "chaos";
export const ledger = "ledger";

/** A pod without any grace leaves the API server before its processes are dead, and nobody but a guard waits for those. */
const graceSeconds = 1;

/** Objects of the application; each pod writes the machine's uptime into a file `NODE.POD` of `beatsDir`. */
export function application(beatsDir: string): KubeObject[] {
  const labels = { app: "beat" };
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  return [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: ledger, namespace }, data: { seq: "0" } },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "beat", namespace },
      spec: {
        replicas: 2,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            terminationGracePeriodSeconds: graceSeconds,
            containers: [
              {
                name: "beat",
                image: busyboxImage,
                imagePullPolicy: "Never",
                command: ["sh", "-c", `trap 'exit 0' TERM; ${beatLoop}`],
                env: [field("NODE", "spec.nodeName"), field("POD", "metadata.name")],
                volumeMounts: [{ name: "beats", mountPath: "/beats" }],
              },
            ],
            volumes: [{ name: "beats", hostPath: { path: beatsDir } }],
          },
        },
      },
    },
  ];
}
