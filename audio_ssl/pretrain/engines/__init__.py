"""What runs the updates of a job: one file per engine, named by a recipe's `engine`.

An engine is a module with two functions::

    check(recipe)       raises UserError for what it cannot do, before any work
    train(job, team)    trains until job.steps from its newest checkpoint in job.state_folder, writes the log,
                        and leaves the trained weights in job.training.learner; raises StoppedBySignal after saving
"""
