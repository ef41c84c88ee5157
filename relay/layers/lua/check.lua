-- KEYS: 1 a key of no meaning. A store that cannot be written to refuses this.
redis.call('SET', KEYS[1], 1, 'PX', 60000)
return 1
