#pragma once
// A schema for tests and the fuzz target: a field of every kind that there is.

#include "base/assert.h"

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/timestamp.pb.h>

#include <string>

namespace meridian::protobuf {

// What protoc would make of
//
//   syntax = "proto3";
//   package shop;
//   enum Status { NEW = 0; PAID = 3; }
//   message Line {
//     string sku = 1;  int32 count = 2;  optional Order order = 3;  repeated Status states = 4;
//   }
//   message Order {
//     uint64 id = 1;  sint64 total = 2;  string customer = 3;  bytes proof = 4;  double weight = 5;
//     float rate = 6;  bool gift = 7;  Status status = 8;  repeated Line lines = 9;
//     repeated string tags = 10;  repeated int64 numbers = 11;  map<string, Line> by_sku = 12;
//     map<int32, string> names = 13;  optional string note = 14;
//     oneof pay { string card = 15; int64 cash = 16; }
//     google.protobuf.Timestamp at = 17;  Line first = 18;  repeated Status history = 19;
//     repeated bytes proofs = 20;  fixed64 mark = 21;  map<string, Status> by_state = 22;
//   }
// and of a message Old of proto2, with a required field, a default and a group.
inline std::string sample_descriptor_set() {
  google::protobuf::FileDescriptorSet set;
  google::protobuf::Timestamp::descriptor()->file()->CopyTo(set.add_file());
  constexpr const char* text = R"(
    name: "shop.proto" package: "shop" syntax: "proto3"
    dependency: "google/protobuf/timestamp.proto"
    enum_type { name: "Status" value { name: "NEW" number: 0 } value { name: "PAID" number: 3 } }
    message_type {
      name: "Line"
      field { name: "sku" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "count" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
      field { name: "order" number: 3 type: TYPE_MESSAGE
              type_name: ".shop.Order" label: LABEL_OPTIONAL }
      field { name: "states" number: 4 type: TYPE_ENUM
              type_name: ".shop.Status" label: LABEL_REPEATED }
    }
    message_type {
      name: "Order"
      field { name: "id" number: 1 type: TYPE_UINT64 label: LABEL_OPTIONAL }
      field { name: "total" number: 2 type: TYPE_SINT64 label: LABEL_OPTIONAL }
      field { name: "customer" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "proof" number: 4 type: TYPE_BYTES label: LABEL_OPTIONAL }
      field { name: "weight" number: 5 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
      field { name: "rate" number: 6 type: TYPE_FLOAT label: LABEL_OPTIONAL }
      field { name: "gift" number: 7 type: TYPE_BOOL label: LABEL_OPTIONAL }
      field { name: "status" number: 8 type: TYPE_ENUM
              type_name: ".shop.Status" label: LABEL_OPTIONAL }
      field { name: "lines" number: 9 type: TYPE_MESSAGE
              type_name: ".shop.Line" label: LABEL_REPEATED }
      field { name: "tags" number: 10 type: TYPE_STRING label: LABEL_REPEATED }
      field { name: "numbers" number: 11 type: TYPE_INT64 label: LABEL_REPEATED }
      field { name: "by_sku" number: 12 type: TYPE_MESSAGE
              type_name: ".shop.Order.BySkuEntry" label: LABEL_REPEATED }
      field { name: "names" number: 13 type: TYPE_MESSAGE
              type_name: ".shop.Order.NamesEntry" label: LABEL_REPEATED }
      field { name: "note" number: 14 type: TYPE_STRING
              label: LABEL_OPTIONAL proto3_optional: true oneof_index: 1 }
      field { name: "card" number: 15 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
      field { name: "cash" number: 16 type: TYPE_INT64 label: LABEL_OPTIONAL oneof_index: 0 }
      field { name: "at" number: 17 type: TYPE_MESSAGE
              type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL }
      field { name: "first" number: 18 type: TYPE_MESSAGE
              type_name: ".shop.Line" label: LABEL_OPTIONAL }
      field { name: "history" number: 19 type: TYPE_ENUM
              type_name: ".shop.Status" label: LABEL_REPEATED }
      field { name: "proofs" number: 20 type: TYPE_BYTES label: LABEL_REPEATED }
      field { name: "mark" number: 21 type: TYPE_FIXED64 label: LABEL_OPTIONAL }
      field { name: "by_state" number: 22 type: TYPE_MESSAGE
              type_name: ".shop.Order.ByStateEntry" label: LABEL_REPEATED }
      oneof_decl { name: "pay" }
      oneof_decl { name: "_note" }
      nested_type {
        name: "BySkuEntry" options { map_entry: true }
        field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
        field { name: "value" number: 2 type: TYPE_MESSAGE
                type_name: ".shop.Line" label: LABEL_OPTIONAL }
      }
      nested_type {
        name: "NamesEntry" options { map_entry: true }
        field { name: "key" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
        field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
      }
      nested_type {
        name: "ByStateEntry" options { map_entry: true }
        field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
        field { name: "value" number: 2 type: TYPE_ENUM
                type_name: ".shop.Status" label: LABEL_OPTIONAL }
      }
    })";
  constexpr const char* old = R"(
    name: "old.proto" package: "shop" syntax: "proto2"
    message_type {
      name: "Old"
      field { name: "id" number: 1 type: TYPE_INT32 label: LABEL_REQUIRED }
      field { name: "kind" number: 2 type: TYPE_STRING
              label: LABEL_OPTIONAL default_value: "plain" }
      field { name: "part" number: 3 type: TYPE_GROUP
              type_name: ".shop.Old.Part" label: LABEL_OPTIONAL }
      nested_type {
        name: "Part"
        field { name: "size" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
      }
    })";
  for (const char* const file : {text, old}) {
    MERIDIAN_ASSERT(google::protobuf::TextFormat::ParseFromString(file, set.add_file()));
  }
  return set.SerializeAsString();
}

}  // namespace meridian::protobuf
