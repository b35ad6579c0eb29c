"""Parts of the toy reports: kinds of news, each with several wordings and the summaries of these.

A ``{slot}`` stands for an entry of ``SLOTS`` or for a new name. In ``SLOTS`` an underscore joins the words of one
entry, and a colon precedes the word that stands for it in a summary: ``ran_into:hits``.
"""

from __future__ import annotations

from typing import NamedTuple

Telling = tuple[str, str]  # sentence and its summary


class Kind(NamedTuple):
    """Kind of news, with templates of its sentences.

    Attributes:
        events: Wordings of the event. With ``{when}`` the event is news; with ``{then}`` instead, it is long past.
        detail: Sentence that belongs to the summary too, if a report has it.
        aside: Sentence that is similar to ``detail`` but does not belong to the summary.
    """

    events: tuple[Telling, ...]
    detail: Telling
    aside: str


KINDS = (
    Kind(  # an accident
        (
            (
                "{when} a {vehicle} {hit} a {obstacle} in {place} and {number} people were {hurt} .",
                "{number} {hurt} as {vehicle} {hit} {obstacle} in {place} .",
            ),
            (
                "{number} people were {hurt} in {place} {when} as a {vehicle} {hit} a {obstacle} .",
                "{number} {hurt} as {vehicle} {hit} {obstacle} in {place} .",
            ),
        ),
        ("the police {held} the driver , {person} .", "police {held} {person} ."),
        "the police {held} a witness , {person} .",
    ),
    Kind(  # a vote
        (
            (
                "{when} the council of {place} {agreed} a {building} for {number} crowns .",
                "{place} {agreed} {building} for {number} crowns .",
            ),
            (
                "for {number} crowns , the council of {place} {agreed} a {building} {when} .",
                "{place} {agreed} {building} for {number} crowns .",
            ),
        ),
        ("the mayor , {person} , {praised} the plan .", "mayor {person} {praised} plan ."),
        "the teacher , {person} , {praised} the plan .",
    ),
    Kind(  # a delivery
        (
            (
                "{when} the firm {company} {sent} {number} {goods} to {place} .",
                "{company} {sent} {number} {goods} to {place} .",
            ),
            (
                "{number} {goods} were {sent} to {place} {when} by the firm {company} .",
                "{company} {sent} {number} {goods} to {place} .",
            ),
        ),
        ("{price} {number} crowns .", "{price} {number} crowns ."),
        "{toll} {number} crowns .",
    ),
    Kind(  # a match
        (
            (
                "{when} {winner} {beat} {loser} in {place} by {number} points .",
                "{winner} {beat} {loser} in {place} by {number} .",
            ),
            (
                "{loser} {lost} {winner} in {place} {when} by {number} points .",
                "{winner} {lost} {loser} in {place} by {number} .",
            ),
        ),
        ("{best} {person} .", "{person} {best} ."),
        "{referee} {person} .",
    ),
    Kind(  # the weather
        (
            (
                "{when} a {storm} reached {place} and {ruined} {number} houses .",
                "{storm} {ruined} {number} houses in {place} .",
            ),
            (
                "{number} houses were {ruined} in {place} {when} by a {storm} .",
                "{storm} {ruined} {number} houses in {place} .",
            ),
        ),
        ("{number} families {fled} .", "{number} families {fled} ."),
        "{number} soldiers {fled} .",
    ),
    Kind(  # an appointment
        (
            (
                "{when} the firm {company} {named} {person} as its {role} .",
                "{company} {named} {person} as {role} .",
            ),
            (
                "{person} was {named} as {role} of the firm {company} {when} .",
                "{company} {named} {person} as {role} .",
            ),
        ),
        ("{pay} {number} crowns .", "{pay} {number} crowns ."),
        "{rent} {number} crowns .",
    ),
)

# Sentences that belong to no summary.
FILLERS = (
    "{person} , a {job} from {place} , was {mood} .",
    "{person} had no comment .",
    "{person} wrote to the newspaper about it .",
    "{number} people live in {place} .",
    "the town of {place} is {number} miles away .",
    "the people of {place} heard the news from {person} .",
    "the radio spoke of it for {number} minutes .",
    "nobody from {company} came .",
)

# Entries of each slot.
SLOTS = {
    name: entries.split()
    for name, entries in {
        "when": "on_monday on_tuesday on_wednesday on_thursday on_friday this_morning last_night yesterday",
        "then": "last_year last_spring last_summer years_ago long_ago a_month_ago in_the_past once",
        "vehicle": "truck bus tram van taxi car",
        "hit": "hit:hits struck:hits ran_into:hits",
        "obstacle": "wall gate tree fence kiosk pole",
        "hurt": "hurt:hurt injured:hurt taken_to_hospital:hurt killed:dead found_dead:dead",
        "held": "arrested:hold detained:hold freed:free released:free",
        "agreed": """agreed_to_build:backs voted_to_build:backs decided_to_build:backs
refused_to_build:blocks declined_to_build:blocks""",
        "building": "school bridge market library station theatre",
        "praised": "praised:likes welcomed:likes attacked:hates condemned:hates",
        "sent": "sent:delivers shipped:delivers brought:delivers",
        "goods": "apples books bikes lamps shoes stoves",
        "price": "the_price_was:cost the_buyer_paid:cost",
        "toll": "the_toll_was the_driver_earned",
        "beat": "beat:beats defeated:beats overcame:beats",
        "lost": "lost_to:beats fell_to:beats",
        "best": "the_best_player_was:shines the_hero_was:shines the_worst_player_was:fails the_culprit_was:fails",
        "referee": "the_referee_was the_coach_was",
        "storm": "storm flood gale fire",
        "ruined": "destroyed:ruins wrecked:ruins flattened:ruins spared:spares",
        "fled": "had_to_leave:flee moved_away:flee came_back:return went_home:return",
        "named": "named:hires chose:hires dismissed:fires removed:fires",
        "role": "director manager editor cashier",
        "pay": "the_pay_is:earns the_salary_is:earns",
        "rent": "the_rent_is the_office_costs",
        "job": "baker farmer nurse painter tailor",
        "mood": "surprised worried glad silent tired",
    }.items()
}

# Endings of the new names of each slot.
NAMES = {"place": ("burg", "dale", "wick", "ton"), "company": ("ex", "or"), "winner": ("s",), "loser": ("s",)}
# Words of summaries that are not copied from one place.
FUNCTION_WORDS = (".", "as", "by", "for", "in", "to")
