//! Tests of the directories.
