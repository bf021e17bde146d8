// Original file: proto/lifeboat/v1/replication.proto


export interface ServedKind {
  'group'?: (string);
  'kind'?: (string);
  'versions'?: (string)[];
}

export interface ServedKind__Output {
  'group': (string);
  'kind': (string);
  'versions': (string)[];
}
