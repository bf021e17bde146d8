// Original file: proto/lifeboat/v1/replication.proto


export interface GroupNames {
  'names'?: (string)[];
}

export interface GroupNames__Output {
  'names': (string)[];
}
