// Original file: proto/lifeboat/v1/replication.proto


export interface CheckRequest {
}

export interface CheckRequest__Output {
}
