"""Kinds for work that ends: Job and CronJob. Their controllers stand in modules of their own."""

from .cronjob import CronJob
from .job import Job

__all__ = ["CronJob", "Job"]
