#pragma once
// The table for people: the reference page, and a file to start from.

#include <string>

namespace meridian::config {

// docs/configuration.md. Written by script/docs; a test compares.
std::string reference_page();

// docs/meridian.example.yaml: every setting in its place, commented out, with what it does. Reads
// as a configuration that sets nothing; and, with each `#` that no space follows taken out, as one
// that sets everything.
std::string example_file();

// The configuration that `meridian up` writes into the data folder when nobody gave it one: what a
// developer on this machine needs, and nothing that anybody else could use.
std::string starter_file();

}  // namespace meridian::config
