"""Engines, clients and programs in simulated time: nothing here is measured on a machine."""
