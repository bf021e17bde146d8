// Original file: proto/lifeboat/v1/guard.proto


/**
 * What the node can do about the groups' pods, as measured there.
 */
export interface NodeFacts {
  /**
   * Worst lateness of the guard's own timers of late, in milliseconds.
   */
  'latenessMs'?: (number | string);
  /**
   * The kernel cuts the pods' traffic by itself when the guard stops refreshing it.
   */
  'deadMan'?: (boolean);
  /**
   * Pods of groups on this node whose traffic the kernel cannot cut so: they use the node's own network.
   */
  'uncutPods'?: (number);
  /**
   * Pods of stopped groups whose processes survive SIGKILL: they wait for a device or a mount.
   */
  'unkillable'?: (number);
  /**
   * Pods of all groups on this node that have a process.
   */
  'runningPods'?: (number);
}

/**
 * What the node can do about the groups' pods, as measured there.
 */
export interface NodeFacts__Output {
  /**
   * Worst lateness of the guard's own timers of late, in milliseconds.
   */
  'latenessMs': (number);
  /**
   * The kernel cuts the pods' traffic by itself when the guard stops refreshing it.
   */
  'deadMan': (boolean);
  /**
   * Pods of groups on this node whose traffic the kernel cannot cut so: they use the node's own network.
   */
  'uncutPods': (number);
  /**
   * Pods of stopped groups whose processes survive SIGKILL: they wait for a device or a mount.
   */
  'unkillable': (number);
  /**
   * Pods of all groups on this node that have a process.
   */
  'runningPods': (number);
}
