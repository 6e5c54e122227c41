//! Pipeline, simulation, tidy and bench suites over the whole platform: see the folders beside this one.
