"""Evaluation: datasets of questions, runs of an assistant against them, comparisons and reports."""
