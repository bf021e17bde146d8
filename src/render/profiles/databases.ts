import type { Profiles } from "./table.ts";

/** Operators of databases and search engines. */
export const databases: Profiles = {
  // CloudNativePG: declarative hibernation removes the pods and keeps the claims.
  "postgresql.cnpg.io/Cluster": { set: [{ path: "/metadata/annotations/cnpg.io~1hibernation", value: "on" }] },
  "postgresql.cnpg.io/Pooler": { set: [{ path: "/spec/instances", value: 0 }] },
  "postgresql.cnpg.io/ScheduledBackup": { set: [{ path: "/spec/suspend", value: true }] },
  // Zalando
  "acid.zalan.do/postgresql": { set: [{ path: "/spec/numberOfInstances", value: 0 }] },
  // Crunchy
  "postgres-operator.crunchydata.com/PostgresCluster": { set: [{ path: "/spec/shutdown", value: true }] },
  // Percona
  "pgv2.percona.com/PerconaPGCluster": { set: [{ path: "/spec/pause", value: true }] },
  "ps.percona.com/PerconaServerMySQL": { set: [{ path: "/spec/pause", value: true }] },
  "psmdb.percona.com/PerconaServerMongoDB": { set: [{ path: "/spec/pause", value: true }] },
  "pxc.percona.com/PerconaXtraDBCluster": { set: [{ path: "/spec/pause", value: true }] },
  // Cassandra
  "cassandra.datastax.com/CassandraDatacenter": { set: [{ path: "/spec/stopped", value: true }] },
  "k8ssandra.io/K8ssandraCluster": { set: [{ path: "/spec/cassandra/datacenters/*/stopped", value: true }] },
  // Couchbase: paused only stops reconciling, hibernate stops the pods.
  "couchbase.com/CouchbaseCluster": { set: [{ path: "/spec/hibernate", value: true }] },
  // Elastic: there is no way to run no node; unmanaged resources get no pods, running ones go on.
  "elasticsearch.k8s.elastic.co/Elasticsearch": {
    set: [{ path: "/metadata/annotations/eck.k8s.elastic.co~1managed", value: "false" }],
    stops: false,
  },
  "kibana.k8s.elastic.co/Kibana": { set: [{ path: "/spec/count", value: 0 }] },
};
