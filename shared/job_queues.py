"""The names of Celery's queues, apart from Celery: whoever only starts or looks at a worker need not import it."""

#: Jobs.
QUEUE = "weir.jobs"
#: Every other task: a worker of its own takes it, so that no job keeps it waiting, and it takes no slot from a job.
UPKEEP_QUEUE = "weir.upkeep"
