import type { Profiles } from "./table.ts";

/** Operators of message brokers. */
export const messaging: Profiles = {
  "rabbitmq.com/RabbitmqCluster": { set: [{ path: "/spec/replicas", value: 0 }] },
  // Strimzi: a cluster cannot have no broker; a paused resource gets no pods, running ones go on.
  "kafka.strimzi.io/Kafka": {
    set: [{ path: "/metadata/annotations/strimzi.io~1pause-reconciliation", value: "true" }],
    stops: false,
  },
  "kafka.strimzi.io/KafkaNodePool": {
    set: [{ path: "/metadata/annotations/strimzi.io~1pause-reconciliation", value: "true" }],
    stops: false,
  },
  "kafka.strimzi.io/KafkaConnect": { set: [{ path: "/spec/replicas", value: 0 }] },
  "kafka.strimzi.io/KafkaMirrorMaker2": { set: [{ path: "/spec/replicas", value: 0 }] },
  "kafka.strimzi.io/KafkaBridge": { set: [{ path: "/spec/replicas", value: 0 }] },
};
